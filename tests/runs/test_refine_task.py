"""refine_task against the sandbox over HTTP: which shapes replace which."""

import contextlib
import io
import json

import numpy as np
import pytest

from clips import SIZE, clip, number_on
from ellipses import TOO_WIDE, Ellipses
from prefect_cvat import refine_task
from prefect_cvat.auto_annotation import (
    InteractionResultShape,
    checkbox_attribute_spec,
    label_spec,
)
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.http.transport import Transport
from prefect_cvat.masks import decode_mask, encode_mask
from prefect_cvat.upload.job_writer import JobWriter
from runs.refined_shapes import HEIGHT, WIDTH, box, label_ids, place, shapes_of, state
from served_chunks import with_chunks


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.4")


def test_masks_of_real_photographs_are_better_than_the_boxes_that_they_replace(client, test_data):
    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    coco_module = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO(str(test_data / "coco-photos" / "instances.json"))
    records = sorted(coco.imgs.values(), key=lambda record: record["file_name"])[:9]
    task = client.create_task("photographs", [label_spec("object", None)])
    photos = test_data / "coco-photos" / "images"
    client.upload_images(
        task.id, {record["file_name"]: (photos / record["file_name"]).read_bytes() for record in records}
    )
    [job] = client.jobs(task.id)
    [label] = client.labels(task.id)
    truths = {}
    for frame, record in enumerate(records):
        objects = [
            each
            for each in coco.dataset["annotations"]
            if each["image_id"] == record["id"] and not each["iscrowd"] and each["area"] > 72 * 72
        ]
        for group, each in enumerate(objects[:2], start=10 * frame + 1):
            x, y, width, height = each["bbox"]
            points = [x, y, x + width, y + height]
            place(client, job, box(label.id, frame, points=points, group=group))
            truth = coco.annToMask(each).astype(bool)
            filled = np.zeros_like(truth)
            filled[round(y) : round(y + height), round(x) : round(x + width)] = True
            truths[group] = truth, iou(filled, truth)

    report = refine_task(client, task.id, load_function("grabcut_interaction"))

    masks = client.job_annotations(job.id).shapes
    assert {mask["group"] for mask in masks} == truths.keys()
    assert len(masks) == len(truths) == report.refined >= 5
    assert {(mask["type"], mask["source"], mask["label_id"]) for mask in masks} == {
        ("mask", "semi-auto", label.id)
    }
    by_mask = []
    for mask in masks:
        truth, _ = truths[mask["group"]]
        height, width = truth.shape
        by_mask.append(iou(decode_mask(mask["points"], image_width=width, image_height=height), truth))
    assert np.mean(by_mask) > np.mean([by_box for _, by_box in truths.values()]) + 0.08


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_result_keeps_attributes_of_its_original(client, make_task):
    task_id = make_task(
        4, labels=[label_spec("car", None, attributes=[checkbox_attribute_spec("parked", None)])]
    )
    [job] = client.jobs(task_id)
    [car] = client.labels(task_id)
    value = {"spec_id": car.attributes[0].id, "value": "true"}
    place(
        client,
        job,
        box(car.id, 1, group=7, z_order=2, occluded=True, attributes=[value]),
        box(car.id, 3, source="auto", score=0.25),
        box(car.id, 3, x=30, type="points", points=[20.0, 20.0, 40.0, 30.0]),
    )

    report = refine_task(client, task_id, Ellipses())

    first, second, third = sorted(
        shapes_of(client, task_id), key=lambda shape: (shape["frame"], shape["source"])
    )
    assert {shape["type"] for shape in (first, second, third)} == {"mask"}
    kept = ("frame", "label_id", "group", "z_order", "occluded", "source", "attributes", "score")
    assert [first[name] for name in kept] == [1, car.id, 7, 2, True, "semi-auto", [value], 1.0]
    assert (second["frame"], second["source"], second["score"]) == (3, "auto", 0.25)
    assert decode_mask(third["points"], image_width=WIDTH, image_height=HEIGHT)[[20, 30], [20, 40]].all()
    assert (report.frames, report.refined, report.not_refined) == (2, 3, 0)
    assert report.labels == {"car": 3}
    assert (report.added, report.removed, report.left_out) == (3, 3, {})
    assert "refined: 3 shapes" in report.lines()


def test_fetches_only_chunks_with_originals(client, make_task, monkeypatch):
    task_id = make_task(8)
    [job] = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    place(client, job, box(car, 5), box(car, 1, type="polygon", points=[1, 1, 9, 1, 9, 9]))
    chunks = []
    with_chunks(monkeypatch, lambda params, data: chunks.append(params["number"]))
    refine_task(client, task_id, Ellipses())
    assert chunks == [2]


def test_options_select_originals(client, make_task):
    task_id = make_task(6, segment_size=3)
    jobs = client.jobs(task_id)
    ids = label_ids(client, task_id)
    for job in jobs:
        for frame in range(job.start_frame, job.stop_frame + 1):
            for label in ids.values():
                for source in ("manual", "auto", "file"):
                    place(client, job, box(label, frame, source=source), box(label, frame, source=source, type="points", points=[8, 8]))  # fmt: skip
    before = state(client, task_id)

    report = refine_task(
        client,
        task_id,
        Ellipses(),
        labels=["car"],
        sources=["manual", "file"],
        shape_types=["rectangle"],
        frames=[1, 4, 5],
        jobs=[jobs[1].id],
    )

    after = state(client, task_id)
    gone = [json.loads(item.split(" ", 1)[1]) for item in set(before) - set(after)]
    new = [json.loads(item.split(" ", 1)[1]) for item in set(after) - set(before)]
    assert {(shape["frame"], shape["label_id"], shape["type"], shape["source"]) for shape in gone} == {
        (frame, ids["car"], "rectangle", source) for frame in (4, 5) for source in ("manual", "file")
    }
    assert len(gone) == report.refined == report.removed == 4
    # imported and manual shapes become the same mask, stored once
    assert [(shape["frame"], shape["type"]) for shape in new] in (
        [(4, "mask"), (5, "mask")],
        [(5, "mask"), (4, "mask")],
    )
    assert report.labels == {"car": 2}


def test_tracks_tags_and_other_shapes_are_kept(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    keyframe = {"type": "rectangle", "frame": 0, "points": [5, 5, 9, 9], "outside": False}
    others = {
        "tags": [{"frame": 0, "label_id": car, "source": "manual"}],
        "tracks": [{"frame": 0, "label_id": car, "source": "manual", "shapes": [keyframe]}],
    }
    place(client, job, box(car, type="ellipse", points=[20, 20, 30, 10]), **others)
    before = client.job_annotations(job.id)
    place(client, job, box(car))
    refine_task(client, task_id, Ellipses())
    after = client.job_annotations(job.id)
    assert (after.tags, after.tracks) == (before.tags, before.tracks)
    assert [shape["type"] for shape in after.shapes] == ["ellipse", "mask"]
    assert after.shapes[:1] == before.shapes


def test_keeps_and_counts_originals_without_result(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    place(client, job, box(car, x=2, width=TOO_WIDE), box(car), box(car, 1, x=-30))
    report = refine_task(client, task_id, Ellipses())
    left = [(shape["type"], shape["points"][0]) for shape in shapes_of(client, task_id)]
    assert [item for item in left if item[0] == "rectangle"] == [("rectangle", 2), ("rectangle", -30)]
    assert len(left) == 3
    assert (report.refined, report.not_refined, report.removed) == (1, 2, 1)
    assert "refined: 1 shape; 2 stay, without a result" in report.lines()


def test_originals_may_be_kept(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"]))
    for added in (1, 0):
        report = refine_task(client, task_id, Ellipses(), keep_originals=True)
        assert (report.added, report.already_there, report.removed) == (added, 1 - added, 0)
        assert [shape["type"] for shape in shapes_of(client, task_id)] == ["rectangle", "mask"]


def test_each_part_becomes_a_polygon(client, make_task):
    task_id = make_task(1)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"], group=3))
    report = refine_task(client, task_id, Ellipses(parts=2), to="polygon", tolerance=0.5)
    assert [(shape["type"], shape["group"]) for shape in shapes_of(client, task_id)] == [("polygon", 3)] * 2
    assert (report.refined, report.labels, report.removed) == (1, {"car": 2}, 1)


def test_shape_in_two_jobs_is_prompted_once_and_replaced_in_both(client, make_task):
    task_id = make_task(5, segment_size=3, overlap=1)
    first, second = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    place(client, first, box(car, 2), box(car, 2, x=30))  # the second one only here
    place(client, second, box(car, 2), box(car, 3))
    function = Ellipses()
    report = refine_task(client, task_id, function)
    assert len(function.asked) == 3
    xs = {
        job.id: [
            (s["type"], s["frame"], round(s["points"][-4])) for s in client.job_annotations(job.id).shapes
        ]
        for job in (first, second)
    }
    assert xs == {
        first.id: [("mask", 2, 5), ("mask", 2, 30)],
        second.id: [("mask", 2, 5), ("mask", 3, 5)],
    }
    assert (report.refined, report.added, report.removed, report.labels) == (3, 4, 4, {"car": 3})


def test_skips_honeypots_and_deleted_frames(client, make_task):
    task_id = make_task(4)
    [job] = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    place(client, job, *(box(car, frame) for frame in range(4)))
    client._transport.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [1]})
    original = Transport.json

    def with_honeypot(self, method, path, **options):
        if path.endswith("/validation_layout"):
            return {"mode": "gt_pool", "validation_frames": [], "honeypot_frames": [2]}
        answer = original(self, method, path, **options)
        if path == f"/api/tasks/{task_id}":
            del answer["validation_mode"]  # as a server that does not state it
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Transport, "json", with_honeypot)
        report = refine_task(client, task_id, Ellipses())
    assert {shape["frame"]: shape["type"] for shape in shapes_of(client, task_id)} == {
        **dict.fromkeys((0, 3), "mask"),
        **dict.fromkeys((1, 2), "rectangle"),
    }
    assert report.left_out == {"deleted": 1, "honeypot": 1}


def test_boxes_of_a_video_are_refined_on_their_own_frames(client, video_task):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    task_id = video_task(clip(range(10)), segment_size=6)
    car = label_ids(client, task_id)["car"]
    for job in client.jobs(task_id):
        for frame in range(job.start_frame, job.stop_frame + 1):
            if frame in (0, 3, 5, 9):
                place(client, job, box(car, frame))

    class Reads(Ellipses):
        def detect(self, context, image, prompts):
            bitmap = np.zeros((image.height, image.width), dtype=bool)
            bitmap[30:40, : 1 + number_on(image)] = True
            return [InteractionResultShape(type="mask", points=encode_mask(bitmap))]

    report = refine_task(client, task_id, Reads())
    wanted = {frame: frame for frame in (0, 3, 5, 9)}
    assert {shape["frame"]: shape["points"][-2] for shape in shapes_of(client, task_id)} == wanted
    assert SIZE == (160, 64)
    assert report.frames == 4
