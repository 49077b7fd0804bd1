"""`reads_existing_shapes`: a function sees the shapes that are on its frames already."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    keypoint_spec,
    label_spec,
    rectangle,
    skeleton_label_spec,
)
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.dry_run import dry_run

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])


class Watching:
    """A function that notes what it sees on each frame."""

    reads_existing_shapes = True

    def __init__(self, spec=SPEC):
        self.spec = spec
        self.seen = {}

    def detect(self, context, image):
        self.seen[context.frame_name] = context.existing_shapes
        return [rectangle(7, [40, 10, 60, 30], score=0.9)]


class InSteps(Watching):
    """The same in three steps; each must see the same."""

    def preprocess_image(self, context, image):
        return context.existing_shapes

    def infer_batch(self, contexts, inputs):
        assert [context.existing_shapes for context in contexts] == list(inputs)
        return inputs

    def postprocess(self, context, output):
        assert context.existing_shapes == output
        self.seen[context.frame_name] = output
        return []


def drawn(label_id, frame=0, coordinates=(10, 10, 30, 30), source="manual", **fields):
    return {
        "type": "rectangle", "frame": frame, "label_id": label_id, "points": list(coordinates),
        "source": source, **fields,
    }  # fmt: skip


def label_ids(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


@pytest.mark.parametrize("function_class", [Watching, InSteps])
def test_function_sees_the_shapes_of_its_frames_in_its_own_labels(client, make_task, function_class):
    task_id = make_task(5)
    ids = label_ids(client, task_id)
    [job] = client.jobs(task_id)
    shapes = [
        drawn(ids["car"], 1),
        drawn(ids["person"], 1, source="auto"),
        {**drawn(ids["car"], 4, [5, 5, 9, 5, 9, 20]), "type": "polygon"},
    ]
    client.create_job_annotations(
        job.id, {"shapes": shapes, "tags": [{"frame": 1, "label_id": ids["car"], "source": "manual"}]}
    )
    function = function_class()
    report = annotate_task(client, task_id, function, frames_per_batch=1, existing="replace_auto")
    assert sorted(function.seen) == [f"{number:04}.png" for number in range(5)]
    assert [(each.label_id, each.type, each.box, each.source) for each in function.seen["0001.png"]] == [
        (7, "rectangle", (10, 10, 30, 30), "manual"),
        (8, "rectangle", (10, 10, 30, 30), "auto"),
    ]
    [polygon] = function.seen["0004.png"]
    assert (polygon.points, polygon.box) == ((5, 5, 9, 5, 9, 20), (5, 5, 9, 20))
    assert all(not function.seen[f"{number:04}.png"] for number in (0, 2, 3))
    assert report.frames_from_cache == 0
    assert "they depend on the shapes that are on the frames already" in report.not_kept


def test_second_run_sees_what_was_drawn_since(client, make_task):
    task_id = make_task(2)
    function = Watching()
    annotate_task(client, task_id, function)
    client.create_job_annotations(
        client.jobs(task_id)[0].id, {"shapes": [drawn(label_ids(client, task_id)["person"], 1)]}
    )
    again = annotate_task(client, task_id, function, existing="replace_auto")
    assert [each.source for each in function.seen["0001.png"]] == ["auto", "manual"]
    assert (again.added, again.already_there) == (0, 2)


class Moving(Watching):
    """Finds its object elsewhere when something is drawn."""

    def detect(self, context, image):
        self.seen[context.frame_name] = context.existing_shapes
        moved = 2 * sum(shape.source == "manual" for shape in context.existing_shapes)
        return [rectangle(7, [40 + moved, 10, 60 + moved, 30])]


def test_a_run_that_would_write_objects_twice_is_refused(client, make_task, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path))
    task_id = make_task(3)
    function = Moving()
    annotate_task(client, task_id, function, frames=[1])
    [job], ids = client.jobs(task_id), label_ids(client, task_id)
    client.create_job_annotations(job.id, {"shapes": [drawn(ids["person"], 1, (0, 0, 9, 9))]})
    function.seen.clear()
    message = (
        "starts from shapes that are in the task, and there are automatic ones already, which would be"
        " written twice; use existing='replace_auto'"
    )
    with pytest.raises(BadFunctionError, match=message):
        annotate_task(client, task_id, function)
    assert not function.seen
    annotate_task(client, task_id, function, frames=[0, 2])  # none on these
    again = annotate_task(client, task_id, function, existing="replace_auto")
    assert (again.added, again.removed, again.already_there) == (1, 1, 2)
    third = annotate_task(client, task_id, function, existing="replace_auto")
    assert (third.added, third.removed, third.already_there) == (0, 0, 3)
    assert not any(shape.is_deleted for seen in function.seen.values() for shape in seen), (
        "people have deleted none of what runs have replaced"
    )


def test_automatic_tracks_of_its_labels_are_refused_too(client, make_task):
    task_id = make_task(4)
    ids = label_ids(client, task_id)
    [job] = client.jobs(task_id)
    keyframes = [
        {"type": "rectangle", "frame": frame, "points": [5, 5, 9, 9], "outside": outside}
        for frame, outside in ((0, False), (2, True))
    ]
    track = {"frame": 0, "label_id": ids["car"], "source": "auto", "shapes": keyframes}
    client.create_job_annotations(job.id, {"tracks": [track]})
    with pytest.raises(BadFunctionError, match="automatic ones already"):
        annotate_task(client, task_id, Watching(), frames=[1, 3])
    annotate_task(client, task_id, Watching(), frames=[2, 3])
    persons = Watching(DetectionFunctionSpec(labels=[label_spec("person", 7)]))
    annotate_task(client, task_id, persons, frames=[0, 1])


def test_tracks_are_seen_where_they_are_on_the_frame(client, make_task):
    task_id = make_task(4)
    keyframes = [
        {"type": "rectangle", "frame": frame, "points": [x, 10, x + 20, 30], "outside": outside}
        for frame, x, outside in ((0, 0, False), (2, 40, False), (3, 40, True))
    ]
    track = {"frame": 0, "label_id": label_ids(client, task_id)["car"], "source": "auto", "shapes": keyframes}
    client.create_job_annotations(client.jobs(task_id)[0].id, {"tracks": [track]})
    function = Watching()
    annotate_task(client, task_id, function, existing="replace_auto")
    assert [[(each.box, each.source) for each in function.seen[name]] for name in sorted(function.seen)] == [
        [((0, 10, 20, 30), "auto")],
        [((20, 10, 40, 30), "auto")],
        [((40, 10, 60, 30), "auto")],
        [],
    ]


def test_skeletons_are_seen_by_their_box_and_labels_without_the_function_are_not(client, make_task):
    labels = [
        skeleton_label_spec("pose", None, [keypoint_spec("head", None), keypoint_spec("foot", None)]),
        label_spec("car", None),
        label_spec("tree", None),
    ]
    task_id = make_task(1, labels=labels)
    pose, car, tree = client.labels(task_id)
    elements = [
        {"type": "points", "frame": 0, "label_id": part.id, "points": xy, "outside": False}
        for part, xy in zip(pose.sublabels, ([10, 10], [30, 40]), strict=True)
    ]
    skeleton = {"type": "skeleton", "frame": 0, "label_id": pose.id, "source": "manual", "elements": elements}
    client.create_job_annotations(
        client.jobs(task_id)[0].id, {"shapes": [skeleton, drawn(tree.id), drawn(car.id, rotation=90)]}
    )
    spec = DetectionFunctionSpec(
        labels=[
            skeleton_label_spec("pose", 1, [keypoint_spec("head", 1), keypoint_spec("foot", 2)]),
            label_spec("car", 7),
        ]
    )
    function = Watching(spec)
    annotate_task(client, task_id, function)
    seen = {each.label_id: each for each in function.seen["0000.png"]}
    assert seen.keys() == {1, 7}
    assert (seen[1].type, seen[1].points, seen[1].box) == ("skeleton", (), (10, 10, 30, 40))
    assert seen[7].rotation == 90


def test_each_job_is_read_once_and_copies_in_overlapping_jobs_are_one_shape(client, make_task, monkeypatch):
    task_id = make_task(6, segment_size=4, overlap=2)
    ids = label_ids(client, task_id)
    first, second = client.jobs(task_id)
    for job in (first, second):
        client.create_job_annotations(job.id, {"shapes": [drawn(ids["car"], 2)]})
    reads = []
    original = type(client).iter_job_annotations

    def iter_job_annotations(self, job_id):
        reads.append(job_id)
        return original(self, job_id)

    monkeypatch.setattr(type(client), "iter_job_annotations", iter_job_annotations)
    annotate_task(client, task_id, SimpleNamespace(spec=SPEC, detect=lambda *_: []), frames_per_batch=1)
    without = len(reads)
    # for the function and the comparison together, for what was deleted, and for what could be written twice
    for options, times in (({}, 3), ({"skip_existing_iou": 0.5, "skip_existing_source": "all"}, 2)):
        reads.clear()
        function = Watching()
        report = annotate_task(client, task_id, function, frames_per_batch=1, **options)
        assert len(function.seen["0002.png"]) == (1 if not options else 2)
        assert len(reads) - without == 2 * times, "two jobs"
    assert report.overlapping_existing == 6


def test_a_run_that_removes_the_shapes_is_refused(client, make_task):
    task_id = make_task(1)
    client.create_job_annotations(
        client.jobs(task_id)[0].id, {"shapes": [drawn(label_ids(client, task_id)["car"])]}
    )
    function = Watching()
    with pytest.raises(BadFunctionError, match="existing='clear' removes them; use existing='replace_auto'$"):
        annotate_task(client, task_id, function, existing="clear")
    assert not function.seen
    annotate_task(client, task_id, function, existing="replace_auto")
    assert len(function.seen["0000.png"]) == 1


def test_dry_run_shows_them_too_and_other_functions_see_none(client, make_task):
    task_id = make_task(1)
    client.create_job_annotations(
        client.jobs(task_id)[0].id, {"shapes": [drawn(label_ids(client, task_id)["car"])]}
    )
    function = Watching()
    dry_run(AnnotateRun(client, task_id, function, Options()))
    assert len(function.seen["0000.png"]) == 1
    function.reads_existing_shapes = False
    annotate_task(client, task_id, function, use_cache=False)
    assert function.seen["0000.png"] == ()


def test_shapes_that_people_have_deleted_are_seen_as_deleted(client, make_task, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path))
    task_id = make_task(2)
    function = Watching()
    annotate_task(client, task_id, function)
    [job] = client.jobs(task_id)
    first, _ = sorted(client.job_annotations(job.id).shapes, key=lambda shape: shape["frame"])
    client.delete_job_annotations(job.id, json.dumps({"shapes": [first], "tags": [], "tracks": []}).encode())
    annotate_task(client, task_id, function, existing="replace_auto")
    [deleted], [left] = function.seen["0000.png"], function.seen["0001.png"]
    assert (deleted.is_deleted, deleted.label_id, deleted.box) == (True, 7, (40, 10, 60, 30))
    assert (left.is_deleted, left.source) == (False, "auto")


def test_a_line_in_the_log_says_once_that_no_shapes_are_shown(client, make_task, caplog):
    image = Image.new("RGB", (8, 8))
    detector = Detector(Watching())
    for _ in range(2):
        list(detector.detect([(Frame(0, "a", 8, 8), image)]))
    [record] = caplog.records
    assert "no shapes are shown to function 'Watching'" in record.getMessage()
    caplog.clear()
    annotate_task(client, make_task(1), Watching())
    assert not [each for each in caplog.records if "no shapes" in each.getMessage()]
