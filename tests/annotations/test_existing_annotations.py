"""`skip_existing_iou`: detections of annotated objects are left out."""

import io
from types import SimpleNamespace

import PIL.Image
import pytest
import skimage.data

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    ellipse,
    keypoint,
    keypoint_spec,
    label_spec,
    mask,
    points,
    polygon,
    polyline,
    rectangle,
    skeleton,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.masks import encode_mask, polygon_to_mask
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.rendering.run_report_markdown import render_markdown
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.track_detections_run import TrackDetectionsRun

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])
BOX = [10, 10, 30, 30]


def finds(*annotations, spec=SPEC):
    """A function that finds the same on every frame."""
    return SimpleNamespace(spec=spec, detect=lambda _context, _image: list(annotations))


def human(label_id, frame=0, kind="rectangle", coordinates=BOX, source="manual", **fields):
    return {
        "type": kind, "frame": frame, "label_id": label_id, "points": coordinates, "source": source, **fields
    }  # fmt: skip


def label_ids(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


def shapes(client, task_id):
    return [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]


def automatic(client, task_id):
    return [shape for shape in shapes(client, task_id) if shape["source"] == "auto"]


def diamond_as_mask():
    bitmap = polygon_to_mask([20, 10, 30, 20, 20, 30, 10, 20], image_width=64, image_height=48)
    return encode_mask(bitmap)


def test_skips_detections_that_are_annotated_manually(client, make_task):
    task_id = make_task(2)
    ids = label_ids(client, task_id)
    [job] = client.jobs(task_id)
    client.create_job_annotations(
        job.id,
        {
            "shapes": [human(ids["car"]), human(ids["person"], 1, source="semi-auto")],
            "tags": [{"frame": 1, "label_id": ids["car"], "source": "manual"}],
        },
    )
    function = finds(
        rectangle(7, [10, 10, 30, 27], score=0.9),
        rectangle(7, [40, 10, 60, 30], score=0.8),
        rectangle(8, [11, 10, 31, 30], score=0.7),
        tag(7),
    )
    report = annotate_task(client, task_id, function, skip_existing_iou=0.6)
    found = sorted((s["frame"], s["label_id"], s["points"][0]) for s in automatic(client, task_id))
    car, person = ids["car"], ids["person"]
    assert found == sorted([(0, car, 40), (0, person, 11), (1, car, 10), (1, car, 40)])
    [tag_0, tag_1] = sorted(client.job_annotations(job.id).tags, key=lambda found: found["frame"])
    assert (tag_0["source"], tag_1["source"]) == ("auto", "manual")
    assert (report.overlapping_existing, report.added) == (3, 5)
    assert report.labels == {"car": 4, "person": 1}
    assert "left out, annotated by humans already: 3" in report.lines()
    assert "| left out: annotated already | 3 |" in render_markdown(report)
    assert report.model_dump()["overlapping_existing"] == 3


def test_second_run_adds_nothing(client, make_task):
    task_id = make_task(3)
    ids = label_ids(client, task_id)
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [human(ids["car"])]})
    function = finds(rectangle(7, BOX, score=0.9))
    first = annotate_task(client, task_id, function, skip_existing_iou=0.6)
    before = shapes(client, task_id)
    again = annotate_task(client, task_id, function, skip_existing_iou=0.6)
    assert (first.added, first.overlapping_existing) == (2, 1)
    assert (again.added, again.already_there, again.overlapping_existing) == (0, 2, 1)
    assert shapes(client, task_id) == before


def test_replace_auto_keeps_manual_annotations_and_skips_duplicates(client, make_task):
    task_id = make_task(1)
    ids = label_ids(client, task_id)
    [job] = client.jobs(task_id)
    drawn, corrected = human(ids["car"]), human(ids["person"], source="semi-auto")
    old = [human(ids["car"], coordinates=[11, 11, 31, 31], source="auto")]
    client.create_job_annotations(job.id, {"shapes": [drawn, corrected, *old]})
    kept = [shape for shape in shapes(client, task_id) if shape["source"] != "auto"]
    function = finds(
        rectangle(7, [10, 10, 30, 29], score=0.9),
        rectangle(8, [10, 10, 30, 29], score=0.9),
        rectangle(8, [40, 5, 50, 25], score=0.9),
    )
    report = annotate_task(client, task_id, function, existing="replace_auto", skip_existing_iou=0.6)
    left = shapes(client, task_id)
    assert [shape for shape in left if shape["source"] != "auto"] == kept
    assert [shape["points"] for shape in left if shape["source"] == "auto"] == [[40, 5, 50, 25]]
    assert (report.removed, report.added, report.overlapping_existing) == (1, 1, 2)
    assert "written: 1 added, 0 already there, 1 removed" in report.lines()


def test_manual_tracks_are_interpolated(client, make_task):
    task_id = make_task(5)
    ids = label_ids(client, task_id)
    keyframes = [
        {"type": "rectangle", "frame": frame, "points": [x, 10, x + 20, 30], "outside": outside}
        for frame, x, outside in ((0, 0, False), (2, 40, False), (3, 40, True))
    ]
    track = {"frame": 0, "label_id": ids["car"], "source": "manual", "shapes": keyframes}
    client.create_job_annotations(client.jobs(task_id)[0].id, {"tracks": [track]})
    report = annotate_task(
        client, task_id, finds(rectangle(7, [20, 10, 40, 30], score=0.9)), skip_existing_iou=0.9
    )
    assert [shape["frame"] for shape in automatic(client, task_id)] == [0, 2, 3, 4]
    assert report.overlapping_existing == 1


def test_each_job_is_read_once_even_if_jobs_overlap(client, make_task, monkeypatch):
    task_id = make_task(6, segment_size=4, overlap=2)
    ids = label_ids(client, task_id)
    first, second = client.jobs(task_id)
    client.create_job_annotations(first.id, {"shapes": [human(ids["car"], 2)]})
    reads = []
    original = type(client).iter_job_annotations

    def iter_job_annotations(self, job_id):
        reads.append(job_id)
        return original(self, job_id)

    monkeypatch.setattr(type(client), "iter_job_annotations", iter_job_annotations)
    function = finds(rectangle(7, BOX, score=0.9))
    annotate_task(client, task_id, function, frames_per_batch=1, use_cache=False)
    without = sorted(reads)
    reads.clear()
    report = annotate_task(client, make_task(6, segment_size=4, overlap=2), function, frames_per_batch=1)
    assert len(reads) == len(without)
    reads.clear()
    report = annotate_task(
        client, task_id, function, frames_per_batch=1, skip_existing_iou=0.5, use_cache=False
    )
    # once for the comparison, once before writing; nothing was sent, so nothing is read to verify it
    assert sorted(reads) == sorted([first.id, second.id] * 2)
    assert report.overlapping_existing == 1


def test_skeletons_are_compared_by_bounding_box_and_points_are_added(client, make_task):
    labels = [
        skeleton_label_spec("pose", None, [keypoint_spec("head", None), keypoint_spec("foot", None)]),
        label_spec("car", None),
    ]
    task_id = make_task(1, labels=labels)
    pose, car = client.labels(task_id)
    head, foot = pose.sublabels
    elements = [
        {"type": "points", "frame": 0, "label_id": part.id, "points": xy, "outside": False}
        for part, xy in ((head, [10, 10]), (foot, [30, 40]))
    ]
    drawn = {"type": "skeleton", "frame": 0, "label_id": pose.id, "source": "manual", "elements": elements}
    others = [
        human(car.id, kind="points", coordinates=[20, 20]),
        human(car.id, kind="polyline", coordinates=[5, 5, 30, 30]),
    ]
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [drawn, *others]})
    spec = DetectionFunctionSpec(
        labels=[
            skeleton_label_spec("pose", 1, [keypoint_spec("head", 1), keypoint_spec("foot", 2)]),
            label_spec("car", 2),
        ]
    )
    function = finds(
        skeleton(1, [keypoint(1, [11, 10]), keypoint(2, [30, 41])], score=0.9),
        points(2, [20, 20], score=0.9),
        polyline(2, [5, 5, 30, 30], score=0.9),
        polygon(2, [5, 5, 30, 5, 30, 30], score=0.9),
        ellipse(2, [20, 20, 30, 10], score=0.9),
        mask(2, diamond_as_mask(), score=0.9),
        spec=spec,
    )
    report = annotate_task(client, task_id, function, skip_existing_iou=0.6)
    assert report.overlapping_existing == 1
    kinds = sorted(shape["type"] for shape in automatic(client, task_id))
    assert kinds == ["ellipse", "mask", "points", "polygon", "polyline"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip_existing_iou": 0}, "skip_existing_iou must be greater than 0, not 0"),
        ({"skip_existing_iou": 1.5}, "skip_existing_iou must be less than or equal to 1, not 1.5"),
        ({"skip_existing_iou": 0.6, "existing": "clear"}, "or 'replace_auto'"),
        ({"skip_existing_iou": 0.6, "clear_existing": True}, "or 'replace_auto'"),
    ],
)
def test_invalid_options_are_refused(client, make_task, options, message):
    with pytest.raises(ValueError, match=message):
        annotate_task(client, make_task(1), finds(), **options)


@pytest.mark.parametrize("options", [{"skip_existing_iou": 0.6}, {"frames": "unannotated"}], ids=str)
def test_track_run_refuses_skip_existing_and_unannotated(client, options):
    with pytest.raises(ValueError, match="only runs that annotate with shapes"):
        TrackDetectionsRun(client, 1, finds(), Options(**options), TrackOptions())


def test_skips_a_person_annotated_manually_on_a_photograph(client):
    photos = {
        "astronaut.png": skimage.data.astronaut(),
        "motorcycle.png": skimage.data.stereo_motorcycle()[0],
    }
    files = {}
    for name, pixels in photos.items():
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, "PNG")
        files[name] = buffer.getvalue()
    names = ("person", "motorcycle", "bicycle", "chair")
    task = client.create_task("photographs", [label_spec(name, None) for name in names])
    client.upload_images(task.id, files)
    ids = label_ids(client, task.id)
    [job] = client.jobs(task.id)
    client.create_job_annotations(
        job.id, {"shapes": [human(ids["person"], coordinates=[15, 5, 450, 510]), human(ids["chair"])]}
    )
    function = nanodet_detection.create()
    settings = {"allow_unmatched_labels": True, "skip_existing_iou": 0.6}
    run = AnnotateRun(client, task.id, function, Options(**settings))
    with ThreadSubmitter() as threads:
        report = run_pipeline(run, threads)
    assert report.overlapping_existing == 1
    added = {(shape["frame"], shape["label_id"]) for shape in automatic(client, task.id)}
    assert (0, ids["person"]) not in added
    assert (1, ids["motorcycle"]) in added
    assert not any("nothing detected" in reason for frame in report.review for reason in frame.reasons)
    all_of_it = annotate_task(client, task.id, function, allow_unmatched_labels=True)
    assert (all_of_it.added, all_of_it.already_there) == (1, report.added)


@pytest.mark.parametrize(("source", "added"), [("manual", 1), ("auto", 1), ("all", 0)])
def test_skip_existing_source_selects_annotations_to_compare_with(client, make_task, source, added):
    task_id = make_task(1)
    [job] = client.jobs(task_id)
    label = client.labels(task_id)[0].id
    for x, whose in ((0, "manual"), (30, "auto")):
        shape = {
            "type": "rectangle",
            "frame": 0,
            "label_id": label,
            "points": [x, 0, x + 10, 10],
            "source": whose,
        }
        client.create_job_annotations(job.id, {"shapes": [shape]})
    function = finds(rectangle(7, [1, 0, 11, 10], score=0.9), rectangle(7, [31, 0, 41, 10], score=0.9))
    report = annotate_task(client, task_id, function, skip_existing_iou=0.6, skip_existing_source=source)
    assert (report.added, report.overlapping_existing) == (added, 2 - added)
    again = annotate_task(client, task_id, function, skip_existing_iou=0.6, skip_existing_source=source)
    assert again.added == 0


def test_skip_existing_source_auto_conflicts_with_replace_auto(client):
    with pytest.raises(
        ValueError, match="skip_existing_source='auto' leaves room for annotations of source auto"
    ):
        annotate_task(
            client, 1, finds(), existing="replace_auto", skip_existing_iou=0.6, skip_existing_source="auto"
        )
