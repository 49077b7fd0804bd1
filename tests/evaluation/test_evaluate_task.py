"""Evaluation of functions and of stored annotations, on tasks of a sandbox over HTTP."""

import re

import numpy as np
import pytest

from coco_photos import create_task, evaluate_by_pycocotools, half_right, nanodet_predictions, read_coco
from evaluation.drawn_boxes import Boxes, draw, ground_truth_job, labels_of, manual
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    annotate_task,
    keypoint_spec,
    label_spec,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.evaluation.report.evaluation_page import render_evaluation
from prefect_cvat.evaluation.report.tables import plain_lines, render_markdown
from prefect_cvat.evaluation.report.worst_frames import rank_worst_frames
from prefect_cvat.exceptions import (
    BadFunctionError,
    MediaError,
    NothingToEvaluateError,
)
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.run_options import Options
from review_pages import captions_of, content_of

LOW = Options(conf_threshold=0.05)


@pytest.fixture(scope="module")
def photographs(sandbox, test_data):
    """A task of photographs of COCO on which humans have drawn what COCO says."""
    from prefect_cvat import Client

    truth = read_coco(test_data, "instances")
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        specs = [label_spec(category["name"], None) for category in truth["categories"]]
        task_id, frames, labels = create_task(client, test_data, truth, specs)
        names = {category["id"]: category["name"] for category in truth["categories"]}
        shapes = []
        for item in truth["annotations"]:
            x, y, width, height = item["bbox"]
            place = (frames[item["image_id"]], labels[names[item["category_id"]]])
            shapes.append(manual(*place, (x, y, x + width, y + height)))
        draw(client, task_id, shapes)
    return task_id


def test_metrics_of_nanodet_equal_those_of_pycocotools_and_nothing_is_written(photographs, client, test_data):
    before = client.task_annotations(photographs)
    result = evaluate_task(client, photographs, load_function("nanodet_detection", {}), options=LOW)
    assert client.task_annotations(photographs) == before

    truth = read_coco(test_data, "instances")
    annotated = {item["image_id"] for item in truth["annotations"]}
    truth["images"] = [image for image in truth["images"] if image["id"] in annotated]
    predictions = nanodet_predictions(test_data, truth, 0.05)
    reference = evaluate_by_pycocotools(truth, predictions, "bbox")
    boxes = result.shapes["bbox"]
    assert (boxes.ap, boxes.ap50) == pytest.approx(tuple(reference.stats[:2]), abs=1e-3)
    assert result.frames == len(annotated) == 11
    assert result.left_out == {"frames without manual annotations": 2}
    assert set(result.shapes) == {"bbox"}
    assert result.tags is None


def test_stored_annotations_have_the_metrics_of_the_detections_and_are_not_detected_again(
    photographs, client
):
    function = load_function("nanodet_detection", {})
    report = annotate_task(client, photographs, function, conf_threshold=0.05)
    left = evaluate_task(client, photographs)
    again = evaluate_task(client, photographs, function, options=LOW)
    assert left.shapes["bbox"].ap == pytest.approx(again.shapes["bbox"].ap, abs=1e-6)
    assert report.frames == 13  # including those that do not count
    assert again.frames_from_cache == again.frames == 11


def test_metrics_of_stored_masks_equal_those_of_pycocotools(client, test_data):
    from pycocotools import mask

    truth = read_coco(test_data, "instances")
    names = {category["id"]: category["name"] for category in truth["categories"]}
    predictions = half_right(truth, "segm")
    specs = [label_spec(name, None, type="mask") for name in names.values()]
    task_id, frames, labels = create_task(client, test_data, truth, specs)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}

    def masks(items, **fields):
        for item in items:
            encoded = item["segmentation"]
            if isinstance(encoded, list):
                encoded = mask.merge(mask.frPyObjects(encoded, *sizes[item["image_id"]]))
            bitmap = mask.decode(encoded).astype(bool)
            if not bitmap.any():
                continue
            yield {
                "type": "mask",
                "frame": frames[item["image_id"]],
                "label_id": labels[names[item["category_id"]]],
                "points": encode_mask(bitmap),
                "score": item.get("score", 1.0),
            } | fields

    draw(client, task_id, [*masks(truth["annotations"], source="manual"), *masks(predictions, source="auto")])
    annotated = {item["image_id"] for item in truth["annotations"]}
    truth["images"] = [image for image in truth["images"] if image["id"] in annotated]
    reference = evaluate_by_pycocotools(truth, predictions, "segm")
    result = evaluate_task(client, task_id)
    assert result.shapes["segm"].ap == pytest.approx(reference.stats[0], abs=1e-6)
    assert set(result.shapes) == {"bbox", "segm"}
    page = render_evaluation(client, result, max_frames=2)
    assert "<summary>Boxes by label</summary>" in page
    assert "<summary>Masks by label</summary>" in page
    assert all(shape[5].startswith("M") for frame in content_of(page)["frames"] for shape in frame["shapes"])


def test_stored_skeletons_are_evaluated_by_their_keypoints(client, test_data):
    truth = read_coco(test_data, "person_keypoints")
    [person] = truth["categories"]
    spec = skeleton_label_spec("person", None, [keypoint_spec(name, None) for name in person["keypoints"]])
    task_id, frames, labels = create_task(client, test_data, truth, [spec])
    [label] = client.labels(task_id)
    keypoints = {sublabel.name: sublabel.id for sublabel in label.sublabels}

    def skeletons(items, **fields):
        for item in items:
            points = np.reshape(item["keypoints"], (-1, 3))
            frame = frames[item["image_id"]]
            elements = [
                {"type": "points", "frame": frame, "label_id": keypoints[name], "points": [x, y]}
                | {"outside": not seen}
                for name, (x, y, seen) in zip(person["keypoints"], points.tolist(), strict=True)
            ]
            yield {
                "type": "skeleton",
                "frame": frame,
                "label_id": labels["person"],
                "elements": elements,
                "score": item.get("score", 1.0),
            } | fields

    drawn = [item for item in truth["annotations"] if item["num_keypoints"]]
    found = half_right(truth | {"annotations": drawn}, "keypoints")
    draw(client, task_id, [*skeletons(drawn, source="manual"), *skeletons(found, source="auto")])
    result = evaluate_task(client, task_id)
    assert set(result.shapes) == {"keypoints"}
    assert result.shapes["keypoints"].truth == len(drawn)
    assert 0.1 < result.shapes["keypoints"].ap < 0.9
    page = render_evaluation(client, result, max_frames=2)
    assert "<summary>Keypoints by label</summary>" in page
    assert {shape[2] for frame in content_of(page)["frames"] for shape in frame["shapes"]} == {"d"}


def test_frames_with_most_errors_are_drawn_on_a_self_contained_page(photographs, client):
    result = evaluate_task(
        client, photographs, load_function("nanodet_detection", {}), options=LOW, score_threshold=0.35
    )
    worst = rank_worst_frames(result, max_frames=3)
    assert [item.mistakes for item in worst] == sorted((item.mistakes for item in worst), reverse=True)
    [matched] = [item for item in rank_worst_frames(result, max_frames=99) if item.frame == worst[0].frame]
    assert matched.counts["truth"] == matched.counts["found"]

    page = render_evaluation(client, result, max_frames=99)
    frames = content_of(page)["frames"]
    assert len(frames) == result.frames
    assert [frame["number"] for frame in frames[:3]] == [item.frame for item in worst]
    assert page.count("data:image/png") == 3  # the plots
    assert f"/tasks/{photographs}/jobs/" in page
    assert f"?frame={worst[0].frame}" in page
    captions = [caption for frame in captions_of(page) for caption in frame]
    assert "missed person" in captions
    assert any(caption.startswith("false alarm ") for caption in captions)
    assert not re.search(r'(src|href)="(?!data:|http://127)', page)


def test_tables_have_the_metrics_of_each_label(photographs, client):
    result = evaluate_task(
        client, photographs, load_function("nanodet_detection", {}), options=LOW, score_threshold=0.35
    )
    person = result.shapes["bbox"].by_label["person"]
    row = next(line for line in plain_lines(result) if line.split()[:1] == ["person"])
    assert row.split()[1] == f"{person.ap:.3f}"
    assert row.split()[4:8] == [
        str(number)
        for number in (person.truth, person.true_positives, person.false_negatives, person.false_positives)
    ]
    markdown = render_markdown(result)
    assert f"| person | {person.ap:.3f} |" in markdown
    assert "| true label | predicted label | count |" in markdown


def test_frames_without_manual_annotations_are_evaluated_only_with_all_frames(client, make_task):
    task_id = make_task(4)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [manual(1, car), manual(3, car, source="auto")])
    result = evaluate_task(client, task_id, Boxes())
    boxes = result.shapes["bbox"]
    assert (result.frames, boxes.truth, boxes.false_positives) == (1, 1, 0)
    everywhere = evaluate_task(client, task_id, Boxes(), all_frames=True)
    boxes = everywhere.shapes["bbox"]
    assert (everywhere.frames, boxes.truth, boxes.false_positives) == (4, 1, 3)
    chosen = evaluate_task(client, task_id, Boxes(), all_frames=True, options=Options(frames=[0, 1]))
    assert (chosen.frames, chosen.shapes["bbox"].false_positives) == (2, 1)


def test_tracks_count_on_each_of_their_frames(client, make_task):
    task_id = make_task(5)
    car = labels_of(client, task_id)["car"]
    keyframe = {"type": "rectangle", "occluded": False, "z_order": 0, "rotation": 0.0, "attributes": []}
    track = {
        "frame": 0, "label_id": car, "group": 0, "source": "manual", "attributes": [],
        "shapes": [
            keyframe | {"frame": 0, "points": [0, 10, 20, 30], "outside": False},
            keyframe | {"frame": 2, "points": [20, 10, 40, 30], "outside": False},
            keyframe | {"frame": 3, "points": [20, 10, 40, 30], "outside": True},
        ],
    }  # fmt: skip
    draw(client, task_id, tracks=[track])
    result = evaluate_task(client, task_id, Boxes())
    assert [frame.number for frame in result.evaluated_frames] == [0, 1, 2]
    assert result.shapes["bbox"].true_positives == 1  # in the middle of the way


def test_tags_are_evaluated_on_manually_tagged_frames(client, make_task):
    class Tags:
        spec = DetectionFunctionSpec(
            labels=[label_spec("car", 1, type="tag"), label_spec("person", 2, type="tag")]
        )

        def detect(self, context, image):
            return [tag(1)] if context.frame_name < "0002" else [tag(1), tag(2)]

    task_id = make_task(4)
    labels = labels_of(client, task_id)
    tags = [{"frame": frame, "label_id": labels["car"], "source": "manual"} for frame in (0, 1, 2)]
    draw(client, task_id, tags=tags)
    result = evaluate_task(client, task_id, Tags())
    assert result.shapes == {}
    assert (result.tags.frames, result.tags.accuracy) == (3, pytest.approx(2 / 3))
    assert result.tags.by_label["person"].false_positives == 1
    assert "Tags: exact match on 66.7% of 3 frames" in plain_lines(result)
    assert render_evaluation(client, result)


def test_labels_that_the_function_does_not_find_do_not_count(client, make_task):
    task_id = make_task(2)
    labels = labels_of(client, task_id)
    draw(client, task_id, [manual(0, labels["car"]), manual(0, labels["person"], (1, 1, 9, 9))])
    options = Options(label_map={"person": None})
    result = evaluate_task(client, task_id, Boxes(), options=options)
    assert set(result.shapes["bbox"].by_label) == {"car"}
    assert result.left_out["annotations of label 'person', which the function does not have"] == 1


def test_unmatched_labels_are_reported(client, make_task):
    task_id = make_task(2, labels=[label_spec("boat", None), label_spec("car", None)])
    draw(client, task_id, [manual(0, labels_of(client, task_id)["boat"])])
    with pytest.raises(BadFunctionError, match="label 'person' is not in dataset"):
        evaluate_task(client, task_id, Boxes())
    options = Options(allow_unmatched_labels=True)
    with pytest.raises(BadFunctionError, match=r"has 'boat', but Boxes predicts 'car'"):
        evaluate_task(client, task_id, Boxes(), options=options)
    boat = Options(allow_unmatched_labels=True, label_map={"car": "boat"})
    assert evaluate_task(client, task_id, Boxes(), options=boat).shapes["bbox"].ap == 1
    other = make_task(2, labels=[label_spec("plane", None)])
    draw(client, other, [manual(0, labels_of(client, other)["plane"])])
    with pytest.raises(NothingToEvaluateError, match=r"have 'plane', and task \d+ has 'boat', 'car'"):
        evaluate_task(client, task_id, Boxes(), truth="task", truth_task_id=other, options=options)


def test_missing_predictions_or_ground_truth_is_an_error(client, make_task):
    task_id = make_task(2)
    with pytest.raises(NothingToEvaluateError, match="there is no ground truth: the manual"):
        evaluate_task(client, task_id, Boxes())
    with pytest.raises(NothingToEvaluateError, match="has no ground-truth job"):
        evaluate_task(client, task_id, Boxes(), truth="ground_truth")
    draw(client, task_id, [manual(0, labels_of(client, task_id)["car"])])
    with pytest.raises(NothingToEvaluateError, match="has no automatic annotations .* on the 1 frame"):
        evaluate_task(client, task_id)
    job = ground_truth_job(client, task_id, [0])
    with pytest.raises(
        NothingToEvaluateError, match=f"job {job} of task {task_id} has no manual annotations"
    ):
        evaluate_task(client, task_id, Boxes(), truth="ground_truth")


def test_frames_that_fail_may_be_skipped_and_do_not_count(client, make_task):
    class Picky(Boxes):
        version = "picky"

        def detect(self, context, image):
            if context.frame_name == "0001.png":
                raise MediaError("too dark")
            return super().detect(context, image)

    task_id = make_task(3)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [manual(0, car), manual(1, car)])
    with pytest.raises(BadFunctionError, match="too dark"):
        evaluate_task(client, task_id, Picky())
    result = evaluate_task(client, task_id, Picky(), options=Options(on_frame_error="skip"))
    assert (result.frames, result.shapes["bbox"].truth, list(result.frame_errors)) == (1, 1, [1])


def test_deleted_frames_do_not_count(client, make_task):
    task_id = make_task(3)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [manual(0, car), manual(1, car)])
    client.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [1]})
    assert evaluate_task(client, task_id, Boxes()).frames == 1
