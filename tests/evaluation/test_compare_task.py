"""Comparisons of functions and stored annotations, on tasks of a sandbox over HTTP."""

import json

import pytest

from coco_photos import create_task, read_coco
from pictures import picture
from prefect_cvat import export_task, undo_run
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    annotate_task,
    label_spec,
    polygon,
    rectangle,
    tag,
)
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.evaluation import compare_task, evaluate_task
from prefect_cvat.evaluation.report.comparison_tables import comparison_lines, render_comparison_markdown
from prefect_cvat.evaluation.report.evaluation_page import render_evaluation
from prefect_cvat.evaluation.report.worst_frames import most_different_frames
from prefect_cvat.exceptions import BadFunctionError, NoDataError, NothingToEvaluateError, RunNotFoundError
from prefect_cvat.options.run_options import Options
from review_pages import content_of

BOX = [10, 10, 30, 30]
ANY_LABELS = Options(allow_unmatched_labels=True)


class Boxes:
    """Finds a car at one place on every frame."""

    def __init__(self, points=BOX, score=0.9, labels=("car", "person"), failing=()):
        self.spec = DetectionFunctionSpec(labels=[label_spec(name, n) for n, name in enumerate(labels, 1)])
        self.version = f"{points} {score} {labels} {failing}"
        self.points, self.score, self.failing = points, score, failing

    def detect(self, context, image):
        if context.frame_name in self.failing:
            raise ValueError("not this one")
        return [rectangle(1, self.points, score=self.score)]


def draw(client, task_id, shapes=(), tags=(), tracks=()):
    job = next(job for job in client.jobs(task_id) if job.type == "annotation")
    body = {"shapes": list(shapes), "tags": list(tags), "tracks": list(tracks)}
    client.create_job_annotations(job.id, body)


def box(frame, label_id, points=BOX, **fields):
    return {"type": "rectangle", "frame": frame, "label_id": label_id, "points": list(points)} | {
        "source": "manual",
        **fields,
    }


def label_ids(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


@pytest.fixture
def cars(client, make_task):
    """A task of six frames with a car on each."""
    task_id = make_task(6)
    car = label_ids(client, task_id)["car"]
    draw(client, task_id, [box(number, car) for number in range(6)])
    return task_id


def metric(done, name="ap", iou_type="bbox"):
    return done.shapes[iou_type].overall.metrics[name]


def test_two_functions_are_compared_and_nothing_is_written(client, cars):
    before = client.task_annotations(cars)
    good, bad = Boxes(), Boxes([18, 10, 38, 30], 0.6)
    done = compare_task(client, cars, good, bad, function_name="good", against_name="bad", resamples=50)
    assert client.task_annotations(cars) == before
    assert (metric(done).first, metric(done).second, metric(done).difference) == (1, 0, 1)
    assert (metric(done).low, metric(done).high) == (1, 1)
    assert done.second.shapes["bbox"].mistakes.kinds["localization"].count == 6
    assert (done.first.predictions, done.second.predictions) == ("good", "bad")
    assert [(each.frame, each.only_first) for each in done.shapes["bbox"].frames] == [
        (number, 1) for number in range(6)
    ]  # fmt: skip


def test_metrics_of_both_are_those_of_their_own_evaluation(client, test_data):
    truth = read_coco(test_data, "instances")
    names = {category["id"]: category["name"] for category in truth["categories"]}
    specs = [label_spec(name, None) for name in names.values()]
    task_id, frames, labels = create_task(client, test_data, truth, specs)
    shapes = []
    for item in truth["annotations"]:
        x, y, width, height = item["bbox"]
        place = (frames[item["image_id"]], labels[names[item["category_id"]]])
        shapes.append(box(*place, (x, y, x + width, y + height)))
    draw(client, task_id, shapes)
    function, options = nanodet_detection.create(), Options(conf_threshold=0.05)
    strict = nanodet_detection.create(score_threshold=0.4)
    annotate_task(client, task_id, function, conf_threshold=0.4)
    alone = evaluate_task(client, task_id, function, options=options).shapes["bbox"]
    stored = evaluate_task(client, task_id).shapes["bbox"]
    done = compare_task(client, task_id, function, None, options=options, resamples=100)
    assert (metric(done).first, metric(done).second) == (alone.ap, stored.ap)
    assert done.first.shapes["bbox"].mistakes == alone.mistakes
    assert metric(done, "recall").low > 0  # with the low threshold more is found
    assert done.second.predictions == "automatic annotations"
    assert strict.score_threshold == 0.4


def test_automatic_annotations_of_another_task_are_compared(client, cars):
    other = client.create_task("the same images", [label_spec("bus", None), label_spec("car", None)])
    images = {f"{i:04}.png": picture(seed=i) for i in (3, 2, 1)}
    client.upload_images(other.id, images, sorting_method="predefined", upload_file_order=list(images))
    their = label_ids(client, other.id)
    draw(
        client,
        other.id,
        [box(0, their["car"], source="auto", score=0.5), box(1, their["bus"], source="auto")],
    )
    done = compare_task(client, cars, Boxes(), other.id, resamples=20)
    assert done.first.frames == done.second.frames == 3  # the other task lacks the rest
    assert metric(done, "recall").second == pytest.approx(1 / 3)
    assert done.second.predictions == f"the automatic annotations of task {other.id}"
    assert done.second.left_out == {
        f"annotations of label 'bus' of task {other.id}": 1,
        f"frames that task {other.id} does not have": 3,
    }
    assert done.first.left_out == {
        f"frames that the automatic annotations of task {other.id} failed on or does not have": 3
    }


def test_a_data_set_that_was_exported_is_compared(client, cars, tmp_path):
    export_task(client, cars, Boxes(score=0.7), folder=tmp_path / "before", images=False)
    [file] = (tmp_path / "before").rglob("*.json")
    done = compare_task(client, cars, Boxes([18, 10, 38, 30]), file, resamples=20)
    assert (metric(done).first, metric(done).second) == (0, 1)
    assert done.second.predictions == file.name


def coco_file(path, images=(), categories=("car",), annotations=()):
    data = {
        "images": [{"id": name, "file_name": name} for name in images],
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories, 1)],
        "annotations": list(annotations),
    }
    path.write_text(json.dumps(data))
    return path


def test_a_data_set_may_have_folders_masks_other_labels_and_no_scores(client, cars, tmp_path):
    corners = [[10, 10, 30, 10, 30, 30, 10, 30]]
    halves = [[10, 10, 20, 10, 20, 30, 10, 30], [20, 10, 30, 10, 30, 30, 20, 30]]
    own = {"category_id": 1, "bbox": [10, 10, 20, 20]}
    file = coco_file(
        tmp_path / "a.json",
        ["images/0000.png", "images/0001.png", "images/0002.png", "images/9.png"],
        ["car", "bus"],
        [
            own | {"image_id": "images/0000.png"},
            own | {"image_id": "images/0001.png", "segmentation": corners, "score": 0.5},
            own | {"image_id": "images/0002.png", "segmentation": halves},
            own | {"image_id": "images/0002.png", "category_id": 2},
            own | {"image_id": "images/0002.png", "iscrowd": 1},
            own | {"image_id": "images/9.png"},
        ],
    )
    done = compare_task(client, cars, Boxes(), file, resamples=20)
    second = done.second.shapes["bbox"]
    assert (second.truth, second.true_positives, second.false_positives) == (3, 3, 0)
    assert done.second.left_out == {
        "annotations of label 'bus' of a.json": 1,
        "crowds of a.json": 1,
        "frames that a.json does not have": 3,
    }


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", ValueError, "cannot be read as JSON"),
        ("[]", ValueError, "A list of results alone names neither images nor labels"),
        ({"images": [{"id": 1}], "categories": [], "annotations": []}, ValueError, "needs 'id' and 'file_name'"),
        ({"annotations": [{"image_id": "0000.png", "category_id": 1}]}, ValueError, "annotation 0 .* no 'bbox'"),
        ({"annotations": [{"image_id": "0000.png", "category_id": 9, "bbox": [1, 1, 2, 2]}]}, ValueError,
         "annotation 0 .* no 9"),
        ({"annotations": [{"image_id": "0000.png", "category_id": 1, "bbox": [1, "x", 2, 2]}]}, ValueError,
         "annotation 0 .* could not convert"),
        ({}, NothingToEvaluateError, "has no annotations with a label of task"),
        ({"images": [{"id": 1, "file_name": "other.png"}]}, NothingToEvaluateError, "has none of the 6 frames"),
        ({"images": [{"id": 1, "file_name": "0000.png", "width": 9, "height": 9}]}, ValueError, "has 9x9 pixels"),
        ({"images": [{"id": 1, "file_name": "0000.png"}, {"id": 2, "file_name": "b/0000.png"}]}, ValueError,
         "has two images of frame 0"),
    ],
    ids=[
        "no JSON", "a list", "no file name", "no box", "no category", "no number", "nothing", "other images",
        "another size", "an image twice",
    ],
)  # fmt: skip
def test_unreadable_data_sets_are_refused(client, cars, tmp_path, content, error, message):
    file = coco_file(tmp_path / "a.json", ["0000.png"])
    if isinstance(content, str):
        file.write_text(content)
    else:
        file.write_text(json.dumps(json.loads(file.read_text()) | content))
    with pytest.raises(error, match=message):
        compare_task(client, cars, Boxes(), file)
    with pytest.raises(ValueError, match=r"missing.json cannot be read"):
        compare_task(client, cars, Boxes(), tmp_path / "missing.json")


def test_frames_on_which_one_fails_are_left_out_of_both(client, cars):
    function = Boxes(failing={"0001.png"})
    options = Options(on_frame_error="skip")
    done = compare_task(client, cars, Boxes(), function, against_name="frail", options=options, resamples=20)
    assert done.first.frames == done.second.frames == 5
    assert done.shapes["bbox"].overall.truth == 5
    assert done.first.left_out == {"frames that frail failed on or does not have": 1}
    assert set(done.second.frame_errors) == {1}


def test_objects_of_a_label_that_only_one_has_count_for_both(client, make_task):
    task_id = make_task(2)
    labels = label_ids(client, task_id)
    draw(client, task_id, [box(0, labels["car"]), box(1, labels["person"])])
    done = compare_task(client, task_id, Boxes(), Boxes(labels=("car",)), against_name="cars", resamples=20)
    assert metric(done, "recall").first == metric(done, "recall").second == 0.5
    assert "cars does not have label 'person'; its objects count as missed" in comparison_lines(done)


def test_the_other_function_has_its_own_label_map(client, cars):
    done = compare_task(
        client,
        cars,
        Boxes(labels=("auto",)),
        Boxes(labels=("vehicle",)),
        against_label_map={"vehicle": "car"},
        options=Options(label_map={"auto": "car"}, label_thresholds={"auto": 0.95}),
        resamples=20,
    )
    assert (metric(done, "recall").first, metric(done, "recall").second) == (0, 1)


def test_masks_are_compared_where_both_have_outlines(client, make_task):
    class Polygons(Boxes):
        def detect(self, context, image):
            return [polygon(1, [10, 10, 30, 10, 30, 30, 10, 30], score=0.9)]

    task_id = make_task(2)
    car = label_ids(client, task_id)["car"]
    outline = {"type": "polygon", "points": [10, 10, 30, 10, 30, 30, 10, 30]}
    draw(client, task_id, [box(number, car) | outline for number in range(2)])
    polygons = Polygons()
    assert set(evaluate_task(client, task_id, polygons).shapes) == {"bbox", "segm"}
    assert set(compare_task(client, task_id, polygons, Boxes(), resamples=20).shapes) == {"bbox"}
    shifted = Polygons(score=0.8)
    assert set(compare_task(client, task_id, polygons, shifted, resamples=20).shapes) == {"bbox", "segm"}


def test_tracks_shapes_and_tags_may_be_mixed(client, make_task):
    class Tags(Boxes):
        def detect(self, context, image):
            return [*super().detect(context, image), tag(2)]

    task_id = make_task(4)
    labels = label_ids(client, task_id)
    track = {"frame": 0, "label_id": labels["car"], "group": 0, "source": "manual", "attributes": []}
    shape = {"type": "rectangle", "occluded": False, "attributes": []}
    keyframes = [shape | {"frame": 0, "points": BOX, "outside": False}]
    keyframes.append(shape | {"frame": 2, "points": BOX, "outside": True})
    tags = [{"frame": 0, "label_id": labels["person"], "source": "manual"}]
    draw(client, task_id, [box(3, labels["car"])], tags, [track | {"shapes": keyframes}])
    done = compare_task(client, task_id, Tags(), Boxes(), resamples=20)
    assert done.shapes["bbox"].overall.truth == 3
    assert metric(done).difference == 0
    assert (done.first.tags.accuracy, done.second.tags.accuracy) == (1, 0)
    assert "exact match 1.000 0.000" in " ".join(" ".join(comparison_lines(done)).split())


def test_tables_markdown_and_page_show_the_comparison(client, cars):
    done = compare_task(
        client, cars, Boxes(), Boxes([18, 10, 38, 30]), function_name="a<b>", against_name="b", resamples=20
    )
    lines = "\n".join(comparison_lines(done))
    assert "AP         1.000   0.000      +1.000  [+1.000, +1.000] *" in lines
    assert "localization: right label, wrong place        0       6" in lines
    markdown = render_comparison_markdown(done)
    assert "| car | 6 | +1.000 [+1.000, +1.000] * |" in markdown
    assert r"a\<b\>" in markdown
    worst = most_different_frames(done, 2)
    assert [each.frame for each in worst] == [0, 1]
    page = render_evaluation(client, done.first, compared=done)
    assert [frame["number"] for frame in content_of(page)["frames"][:2]] == [0, 1]
    assert "a&lt;b&gt; (first) against b (second)" in page
    assert f'href="{client.url}/tasks/{cars}/jobs/{client.jobs(cars)[0].id}?frame=1"' in page
    assert "Boxes: differences by label" in page
    assert "a<b>" not in page


def test_nothing_to_compare_is_refused(client, cars, make_task):
    with pytest.raises(ValueError, match="would be compared with themselves"):
        compare_task(client, cars, None, None)
    with pytest.raises(ValueError, match="would be compared with themselves"):
        compare_task(client, cars, None, cars)
    with pytest.raises(NothingToEvaluateError, match="has no automatic annotations"):
        compare_task(client, cars, Boxes(), None)
    empty = make_task(2)
    with pytest.raises(NothingToEvaluateError, match="there is no ground truth"):
        compare_task(client, empty, Boxes(), Boxes())
    with pytest.raises(NothingToEvaluateError, match="has no automatic annotations"):
        compare_task(client, cars, Boxes(), empty)
    without_data = client.create_task("no data", [label_spec("car", None)]).id
    with pytest.raises(NoDataError, match="has no data yet"):
        compare_task(client, without_data, Boxes(), Boxes())
    with pytest.raises(BadFunctionError, match="the labels do not match"):
        compare_task(client, cars, Boxes(), Boxes(labels=("person",)))
    halves = (
        Boxes(failing={f"000{n}.png" for n in (0, 1, 2)}),
        Boxes(failing={f"000{n}.png" for n in (3, 4, 5)}),
    )
    with pytest.raises(NothingToEvaluateError, match="have none of the 6 frames .* in common"):
        compare_task(client, cars, *halves, options=Options(on_frame_error="skip"))


def test_manual_and_automatic_annotations_are_read_in_one_pass(client, cars, monkeypatch):
    labels = label_ids(client, cars)
    draw(client, cars, [box(number, labels["car"], source="auto", score=0.5) for number in range(3)])
    passes = []
    read = type(client).iter_task_annotations
    monkeypatch.setattr(
        type(client), "iter_task_annotations", lambda *arguments: passes.append(1) or read(*arguments)
    )
    assert evaluate_task(client, cars).shapes["bbox"].recall == 0.5
    done = compare_task(client, cars, Boxes(), None, resamples=20)
    assert metric(done, "recall").second == 0.5
    assert len(passes) == 2


def test_automatic_annotations_of_other_frames_are_none_to_evaluate(client, make_task):
    task_id = make_task(3)
    car = label_ids(client, task_id)["car"]
    draw(client, task_id, [box(0, car), box(1, car, source="auto"), box(2, car, source="auto")])
    with pytest.raises(
        NothingToEvaluateError, match="no automatic annotations .* on the 1 frame to evaluate"
    ):
        evaluate_task(client, task_id)


# --- with an earlier run ---


@pytest.fixture
def replaced_run(client, cars):
    """A run that found nothing right, and was replaced by one that did."""
    wrong = annotate_task(client, cars, Boxes([2, 2, 8, 8], score=0.5))
    annotate_task(client, cars, Boxes(), existing="replace_auto")
    return wrong.run


def test_automatic_annotations_are_compared_with_an_earlier_run(client, cars, replaced_run):
    done = compare_task(client, cars, None, replaced_run[:8], resamples=20)
    assert (metric(done, "recall").first, metric(done, "recall").second) == (1, 0)
    assert done.second.predictions == f"run {replaced_run[:8]} (Boxes)"


def test_a_run_that_was_undone_or_is_of_another_task_is_refused(client, cars, make_task, replaced_run):
    other = make_task(2)
    draw(client, other, [box(0, label_ids(client, other)["car"])])
    with pytest.raises(RunNotFoundError, match=f"was on task {cars} of"):
        compare_task(client, other, Boxes(), replaced_run)
    with pytest.raises(RunNotFoundError, match="there is no record of a run '00000000'"):
        compare_task(client, cars, Boxes(), "00000000")
    undone = annotate_task(client, cars, Boxes([2, 2, 8, 8])).run
    undo_run(client, undone)
    with pytest.raises(
        NothingToEvaluateError, match=f"run {undone[:8]} .* has written nothing on the 6 frames"
    ):
        compare_task(client, cars, Boxes(), undone)


def test_a_run_on_other_frames_is_refused(client, make_task):
    task_id = make_task(6)
    run = annotate_task(client, task_id, Boxes(), frames="5").run
    draw(client, task_id, [box(0, label_ids(client, task_id)["car"])])
    with pytest.raises(NothingToEvaluateError, match=f"run {run[:8]} .* has written nothing on the 1 frame "):
        compare_task(client, task_id, Boxes(), run)
