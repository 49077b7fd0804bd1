"""Thresholds chosen by an evaluation, tested on other photographs."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from skimage.filters import gaussian
from skimage.measure import label, regionprops

from coco_photos import nanodet_predictions, read_coco
from prefect_cvat.auto_annotation import DetectionFunctionSpec, annotate_task, label_spec, rectangle
from prefect_cvat.evaluation import evaluate, evaluate_task
from prefect_cvat.evaluation.expected_time import expected_time
from prefect_cvat.evaluation.thresholds import best_thresholds, choose_thresholds, write_thresholds
from prefect_cvat.exceptions import NothingToEvaluateError, StorageError
from prefect_cvat.options.correction_options import CorrectionSeconds
from prefect_cvat.options.run_options import Options


class StainedCells:
    """Finds areas that are dark in the red channel, as stain is: white cells are large, platelets are small.

    It finds much that is neither, such as the rims of red cells, with lower scores.
    """

    spec = DetectionFunctionSpec(labels=[label_spec("white cell", 1), label_spec("Platelets", 2)])
    version = "stain"

    def detect(self, context, image):
        stain = gaussian(1 - np.asarray(image.convert("RGB"))[..., 0] / 255, 2)
        found = []
        for region in regionprops(label(stain > 0.3), intensity_image=stain):
            y1, x1, y2, x2 = region.bbox
            if region.area > 200:
                kind = 1 if region.area > 4000 else 2
                found.append(rectangle(kind, [x1, y1, x2, y2], score=float(region.intensity_mean)))
        return found


@pytest.fixture
def cell_task(client, test_data):
    """A task of photographs of blood on which humans have drawn all white cells and platelets."""
    folder = test_data / "bccd"
    names = sorted(path.stem for path in (folder / "annotations").glob("*.xml"))[:48]
    task = client.create_task("blood", [label_spec("WBC", None), label_spec("Platelets", None)])
    photographs = {f"{name}.jpg": (folder / "images" / f"{name}.jpg").read_bytes() for name in names}
    client.upload_images(task.id, photographs, chunk_size=12)
    labels = {label.name: label.id for label in client.labels(task.id)}
    shapes = []
    for frame, name in enumerate(names):
        for item in ElementTree.parse(folder / "annotations" / f"{name}.xml").iter("object"):
            if (kind := item.findtext("name")) in labels:
                box = [float(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
                shapes.append(
                    {"type": "rectangle", "frame": frame, "label_id": labels[kind], "points": box}
                    | {"source": "manual"}
                )
    [job] = client.jobs(task.id)
    client.create_job_annotations(job.id, {"shapes": shapes, "tags": [], "tracks": []})
    return task.id


def test_thresholds_chosen_on_half_of_the_photographs_improve_f1_on_the_other_half(client, cell_task):
    def on_half(first, **options):
        return evaluate_task(
            client,
            cell_task,
            StainedCells(),
            all_frames=True,
            options=Options(frames=range(first, 48, 2), label_map={"white cell": "WBC"}, **options),
        )

    thresholds = choose_thresholds(on_half(0))
    assert set(thresholds) == {"white cell", "Platelets"}
    before = on_half(1).shapes["bbox"]
    after = on_half(1, label_thresholds=thresholds).shapes["bbox"]
    assert before.f1 < 0.2
    assert after.f1 > 0.4
    for name, measured in before.by_label.items():
        assert after.by_label[name].f1 > measured.f1


def test_thresholds_of_a_few_photographs_improve_f1_on_others(test_data):
    truth = read_coco(test_data, "instances")
    predictions = nanodet_predictions(test_data, truth, 0.1)
    gains = []
    for number in range(10):
        images = np.random.default_rng(number).permutation([image["id"] for image in truth["images"]])
        seen, others = (evaluate(*on_images(truth, predictions, part)) for part in (images[:6], images[6:]))
        chosen = best_thresholds(seen)
        of_all = seen.curve.smoothed_best_threshold()
        before, after = (
            sum_f1(others, {name: thresholds.get(name, default) for name in others.by_label})
            for thresholds, default in (({}, 0.4), (chosen, of_all))
        )
        gains.append(after - before)
    assert np.mean(gains) > 0.002


def on_images(truth, predictions, images):
    def those(items, key):
        return [item for item in items if item[key] in images]

    part = {"images": those(truth["images"], "id"), "annotations": those(truth["annotations"], "image_id")}
    return {**truth, **part}, those(predictions, "image_id")


def test_threshold_file_can_be_given_to_runs(client, cell_task, tmp_path):
    label_map = {"white cell": "WBC"}
    done = evaluate_task(client, cell_task, StainedCells(), options=Options(label_map=label_map))
    file = tmp_path / "thresholds.json"
    write_thresholds(choose_thresholds(done), file)
    thresholds = json.loads(file.read_text())
    report = annotate_task(
        client, cell_task, StainedCells(), label_map=label_map, label_thresholds=thresholds
    )
    assert report.below_threshold > 100
    left = evaluate_task(client, cell_task).shapes["bbox"]
    assert left.f1 == pytest.approx(
        sum_f1(done.shapes["bbox"], {**thresholds, "WBC": thresholds["white cell"]}), abs=0.01
    )


def sum_f1(evaluation, thresholds):
    counts = [measured.curve.at(thresholds[name]) for name, measured in evaluation.by_label.items()]
    right, wrong, truth = (
        sum(getattr(count, name) for count in counts)
        for name in ("true_positives", "false_positives", "truth")
    )
    return 2 * right / (truth + right + wrong)


def test_requested_precision_is_reached_if_possible(client, cell_task):
    options = Options(label_map={"white cell": "WBC"})
    done = evaluate_task(client, cell_task, StainedCells(), options=options)
    white = done.shapes["bbox"].by_label["WBC"]
    thresholds = choose_thresholds(done, precision=0.8)
    assert white.curve.at(thresholds["white cell"]).precision >= 0.8
    assert thresholds["white cell"] < 1
    assert choose_thresholds(done, precision=0.9999)["Platelets"] == 1


def test_thresholds_of_labels_with_few_objects_are_near_the_overall_threshold():
    common = [(1, n, 0.6 if n % 2 else 0.5) for n in range(200)]
    rare = [(2, 0, 0.9)]
    truth, predictions = columns([*common, *rare])
    wrong = [{"image_id": 1, "category_id": 1, "bbox": [n * 10, 500, 8, 8], "score": 0.4} for n in range(200)]
    evaluation = evaluate(truth, [*predictions, *wrong])
    thresholds = best_thresholds(evaluation)
    assert evaluation.by_label["rare"].best_threshold == pytest.approx(0.45)  # alone: half of its one score
    assert evaluation.best_threshold == pytest.approx(0.45)
    assert thresholds == {"common": pytest.approx(0.45, abs=0.001), "rare": pytest.approx(0.45, abs=0.001)}
    other = evaluate(
        truth, [{**item, "score": item["score"] / 2} for item in predictions[-1:]] + predictions[:-1] + wrong
    )
    assert other.by_label["rare"].best_threshold == pytest.approx(0.225)
    assert best_thresholds(other)["rare"] == pytest.approx(0.425, abs=0.03)


def columns(objects):
    """Objects side by side that are found exactly."""
    truth = {
        "images": [{"id": 1, "width": 4000, "height": 1000}],
        "categories": [{"id": 1, "name": "common"}, {"id": 2, "name": "rare"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": kind, "bbox": [place * 10, 0, 8, 8], "area": 64, "iscrowd": 0}
            for i, (kind, place, _) in enumerate(objects, 1)
        ],
    }  # fmt: skip
    predictions = [
        {"image_id": 1, "category_id": kind, "bbox": [place * 10, 0, 8, 8], "score": score}
        for kind, place, score in objects
    ]
    return truth, predictions


def test_labels_without_true_positives_get_no_threshold(client, make_task, tmp_path):
    class Nowhere:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

        def detect(self, context, image):
            return [rectangle(1, [40, 30, 50, 40], score=0.9)]

    task_id = make_task(1)
    [car, _] = client.labels(task_id)
    shape = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [0, 0, 9, 9], "source": "manual"}
    [job] = client.jobs(task_id)
    client.create_job_annotations(job.id, {"shapes": [shape], "tags": [], "tracks": []})
    done = evaluate_task(client, task_id, Nowhere())
    with pytest.raises(NothingToEvaluateError, match="Nowhere has no true positives"):
        choose_thresholds(done)
    with pytest.raises(StorageError, match="cannot be written"):
        write_thresholds({"car": 0.5}, tmp_path / "missing" / "thresholds.json")


def boxes_with_scores(right, wrong, iou=1.0):
    """A data set of an object for each score in `right`, found with this IoU, and false alarms."""
    truth = {"images": [], "categories": [{"id": 1, "name": "car"}], "annotations": []}
    found = []
    for number, score in enumerate(right, 1):
        truth["images"].append({"id": number, "width": 500, "height": 500})
        truth["annotations"].append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "area": 10000,
                "bbox": [0, 0, 100, 100],
            }
        )
        found.append({"image_id": number, "category_id": 1, "bbox": [0, 0, 100, 100 * iou], "score": score})
    for score in wrong:
        found.append({"image_id": 1, "category_id": 1, "bbox": [300, 300, 50, 50], "score": score})
    return evaluate(truth, found)


RIGHT, WRONG = np.linspace(0.3, 0.9, 61), np.linspace(0.1, 0.7, 61)


def test_threshold_for_time_rises_with_the_cost_of_false_alarms():
    def threshold(**seconds):
        return best_thresholds(boxes_with_scores(RIGHT, WRONG), seconds=CorrectionSeconds(**seconds))["car"]

    cheap, dear = threshold(draw_box=100, delete_shape=1), threshold(draw_box=7, delete_shape=30)
    assert cheap < 0.35
    assert dear > 0.65


def test_label_that_always_costs_more_than_it_saves_gets_a_threshold_of_one():
    evaluation = boxes_with_scores(RIGHT, WRONG, iou=0.6)  # drawing again is as fast as moving
    assert best_thresholds(evaluation, seconds=CorrectionSeconds(draw_box=3))["car"] == 1.0


def test_expected_time_counts_each_action():
    evaluation = boxes_with_scores([0.9, 0.8, 0.7], [0.6], iou=0.6)
    seconds = CorrectionSeconds(draw_box=100, move_edge=10, confirm=1, delete_shape=5)
    expected = expected_time(evaluation, seconds)
    assert (expected.by_hand, expected.with_function) == (300, 3 * (1 + 20) + 6)
    exact = expected_time(boxes_with_scores([0.9, 0.8, 0.7], [0.6]), seconds)
    assert exact.with_function == 3 * 1 + 6
