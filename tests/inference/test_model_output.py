"""Output of real models in every kind of run, over HTTP: what is stored and what is counted."""

from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch

from prefect_cvat import annotate_task, refine_task, track_task
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    TrackableShape,
    TrackingFunctionSpec,
    checkbox_attribute_spec,
    cuboid,
    ellipse,
    keypoint,
    keypoint_spec,
    label_spec,
    mask,
    number_attribute_spec,
    points,
    polygon,
    polyline,
    rectangle,
    skeleton,
    skeleton_label_spec,
    text_attribute_spec,
)
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_refiner import ShapeRefiner
from prefect_cvat.masks import decode_mask, encode_mask
from prefect_cvat.models import AttributeValRequest
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.rendering.run_report_markdown import render_markdown

WIDTH, HEIGHT = 64, 48
EMPTY = encode_mask(np.zeros((HEIGHT, WIDTH), bool))
FULL = encode_mask(np.ones((6, 8), bool), offset=(10, 10))
COMB = [50, 10, 80, 10, 80, 40, 50, 40, 50, 30, 70, 30, 70, 20, 50, 20]
"""The edge at x = 64 cuts it into two teeth."""

PLAIN = TrackOptions(fill_gap=0, min_length=1, max_gap=3, step=1)


def detector(*shapes, labels=None):
    spec = DetectionFunctionSpec(labels=labels or [label_spec("car", 7)])
    return SimpleNamespace(spec=spec, detect=lambda context, image: [shape() for shape in shapes])


def tracker(kind, *outputs):
    """A tracking function that returns these points, one after the other."""

    def init_tracking_state(context, image, shape):
        return iter(outputs)

    def track(context, image, state):
        found = next(state, None)
        return None if found is None else TrackableShape(type=kind, points=found)

    spec = TrackingFunctionSpec(supported_shape_types={kind})
    return SimpleNamespace(spec=spec, init_tracking_state=init_tracking_state, track=track)


def refiner(*outputs):
    return SimpleNamespace(
        spec=InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0),
        detect=lambda context, image, prompts: [
            InteractionResultShape(
                type=kind, points=found, attributes=[AttributeValRequest(spec_id=0, value=score)]
            )
            for kind, found, score in outputs
        ],
    )


def place(client, task_id, kind="rectangle", found=(5.0, 5.0, 20.0, 20.0), frame=0):
    [job] = client.jobs(task_id)
    [label, *_] = client.labels(task_id)
    shape = {"type": kind, "frame": frame, "label_id": label.id, "points": list(found), "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [shape]})


def shapes_of(client, task_id):
    return [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]


def tracks_of(client, task_id):
    return [track for job in client.jobs(task_id) for track in client.job_annotations(job.id).tracks]


def counts(report):
    return report.clipped, report.reordered, report.outside, report.empty_shapes


# --- empty shapes ---


def test_empty_masks_and_boxes_without_area_are_not_written_and_are_counted(client, make_task):
    task_id = make_task(1)
    found = detector(
        lambda: mask(7, EMPTY), lambda: rectangle(7, [5, 5, 5, 9]), lambda: rectangle(7, [5, 5, 9, 9])
    )
    report = annotate_task(client, task_id, found)
    assert [shape["points"] for shape in shapes_of(client, task_id)] == [[5, 5, 9, 9]]
    assert counts(report) == (0, 0, 0, 2)
    assert "shapes: 2 empty" in report.lines()
    assert "| left out: empty | 2 |" in render_markdown(report)


def test_detections_without_a_pixel_make_no_track(client, make_task):
    task_id = make_task(3)
    report = track_task(client, task_id, detector(lambda: mask(7, EMPTY)), track_options=PLAIN)
    assert tracks_of(client, task_id) == []
    assert (report.tracks, counts(report)) == ({}, (0, 0, 0, 3))


def test_tracked_shape_without_area_is_lost(client, make_task):
    task_id = make_task(4)
    place(client, task_id, "mask", FULL)
    report = track_task(client, task_id, tracker("mask", FULL, EMPTY, FULL))
    [track] = tracks_of(client, task_id)
    assert [(shape["frame"], shape["outside"]) for shape in track["shapes"]] == [
        *((0, False), (1, False), (2, True))
    ]
    assert (report.lost, counts(report)) == (1, (0, 0, 0, 1))


@pytest.mark.parametrize(("kind", "found"), [("mask", EMPTY), ("rectangle", [5, 5, 5, 9])])
def test_empty_shape_is_not_tracked(client, make_task, kind, found):
    task_id = make_task(3)
    place(client, task_id, kind, found)
    place(client, task_id, kind, FULL if kind == "mask" else [5, 5, 20, 20])
    report = track_task(client, task_id, tracker(kind, *[FULL if kind == "mask" else [5, 5, 20, 20]] * 2))
    assert (report.source_shapes, report.source_shapes_left_out) == (1, {"empty": 1})
    assert [shape["points"] for shape in shapes_of(client, task_id)] == [found]


def test_mask_without_a_pixel_is_not_a_refined_shape(client, make_task):
    task_id = make_task(1)
    place(client, task_id)
    report = refine_task(client, task_id, refiner(("mask", EMPTY, "0.5"), ("mask", FULL, "0.5")))
    assert [shape["points"] for shape in shapes_of(client, task_id)] == [FULL]
    assert (report.refined, counts(report)) == (1, (0, 0, 0, 1))
    before = make_task(1)
    place(client, before)
    report = refine_task(client, before, refiner(("mask", EMPTY, "0.5")))
    assert [shape["type"] for shape in shapes_of(client, before)] == ["rectangle"]
    assert (report.refined, report.not_refined, counts(report)) == (0, 1, (0, 0, 0, 1))


# --- what leaves the image ---


def test_polygon_clipped_into_parts_becomes_several_shapes(client, make_task):
    task_id = make_task(1)
    report = annotate_task(client, task_id, detector(lambda: polygon(7, COMB, score=0.5)))
    corners = [
        sorted(zip(s["points"][0::2], s["points"][1::2], strict=True)) for s in shapes_of(client, task_id)
    ]
    assert sorted(corners) == [
        [(50, 10), (50, 20), (64, 10), (64, 20)],
        [(50, 30), (50, 40), (64, 30), (64, 40)],
    ]
    assert (report.labels, report.added, counts(report)) == ({"car": 2}, 2, (1, 0, 0, 0))


def test_clipped_shape_of_a_track_is_its_largest_part(client, make_task):
    wider = [50, 8, 80, 8, 80, 40, 50, 40, 50, 30, 70, 30, 70, 20, 50, 20]
    task_id = make_task(3)
    report = track_task(client, task_id, detector(lambda: polygon(7, wider)), track_options=PLAIN)
    [track] = tracks_of(client, task_id)
    assert {(min(s["points"][1::2]), max(s["points"][1::2])) for s in track["shapes"]} == {(8, 20)}
    assert report.tracks == {"car": 1}
    task_id = make_task(3)
    place(client, task_id, "polygon", [50, 8, 60, 8, 60, 20])
    track_task(client, task_id, tracker("polygon", wider, wider))
    [track] = tracks_of(client, task_id)
    assert {(min(s["points"][1::2]), max(s["points"][1::2])) for s in track["shapes"]} == {(8, 20)}


def test_mask_refined_to_a_mask_is_one_mask(client, make_task):
    task_id = make_task(1)
    place(client, task_id)
    report = refine_task(client, task_id, refiner(("polygon", COMB, "0.5")))
    [shape] = shapes_of(client, task_id)
    bitmap = decode_mask(shape["points"], image_width=WIDTH, image_height=HEIGHT)
    assert bitmap.sum() == 2 * 14 * 10
    assert counts(report) == (1, 0, 0, 0)


def test_mask_of_two_parts_is_refined_to_two_polygons(client, make_task):
    task_id = make_task(1)
    place(client, task_id)
    refine_task(client, task_id, refiner(("polygon", COMB, "0.5")), to="polygon")
    assert len(shapes_of(client, task_id)) == 2


def test_polylines_are_clipped_at_the_edge(client, make_task):
    task_id = make_task(1)
    report = annotate_task(client, task_id, detector(lambda: polyline(7, [4, 40, 124, 20])))
    [shape] = shapes_of(client, task_id)
    assert shape["points"] == pytest.approx([4, 40, 64, 30])
    assert counts(report) == (1, 0, 0, 0)


def body_label(number, *keypoints):
    names = ("head", "hand")
    elements = [keypoint_spec(name, each) for name, each in zip(names, keypoints, strict=True)]
    return [skeleton_label_spec("body", number, elements)]


BODY = body_label(7, 0, 1)


def body(*places, **fields):
    return skeleton(7, [keypoint(i, place, **fields) for i, place in enumerate(places)])


def test_keypoints_outside_the_image_are_outside(client, make_task):
    task_id = make_task(1, labels=body_label(None, None, None))
    report = annotate_task(client, task_id, detector(lambda: body([10, 10], [10, 500]), labels=BODY))
    [found] = shapes_of(client, task_id)
    assert sorted((element["points"], element["outside"]) for element in found["elements"]) == [
        ([10, 10], False),
        ([10, HEIGHT], True),
    ]
    assert counts(report) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: body([-10, 10], [10, 500]), (0, 0, 1, 0)),
        (lambda: body([10, 10], [20, 20], outside=True), (0, 0, 0, 1)),
    ],
    ids=["outside the image", "none is seen"],
)
def test_skeleton_without_visible_keypoints_is_dropped(client, make_task, found, expected):
    task_id = make_task(1, labels=body_label(None, None, None))
    report = annotate_task(client, task_id, detector(found, labels=BODY))
    assert shapes_of(client, task_id) == []
    assert (report.added, counts(report)) == (0, expected)


# --- values slightly out of range ---


@pytest.mark.parametrize(
    ("rotation", "expected"), [(-15, 345), (370, 10), (360, 0), (-1e-20, 0), (-725, 355), (15, 15)]
)
def test_rotation_is_taken_modulo_360(client, make_task, rotation, expected):
    task_id = make_task(1)
    annotate_task(
        client,
        task_id,
        detector(
            lambda: rectangle(7, [10, 10, 30, 20], rotation=rotation),
            lambda: ellipse(7, [30, 30, 40, 25], rotation=rotation),
        ),
    )
    assert [shape["rotation"] for shape in shapes_of(client, task_id)] == [expected, expected]


@pytest.mark.parametrize(("score", "expected"), [(1.0000001192, 1), (-1e-8, 0), (0.5, 0.5)])
def test_scores_are_clamped_within_rounding(client, make_task, score, expected):
    task_id = make_task(1)
    report = annotate_task(client, task_id, detector(lambda: rectangle(7, [10, 10, 30, 20], score=score)))
    assert [shape["score"] for shape in shapes_of(client, task_id)] == [expected]
    assert report.without_score == 0
    task_id = make_task(1)
    place(client, task_id)
    refine_task(client, task_id, refiner(("mask", FULL, score)))
    assert [shape["score"] for shape in shapes_of(client, task_id)] == [expected]


def test_the_score_of_a_keypoint_is_clamped_as_well(client, make_task):
    task_id = make_task(1, labels=body_label(None, None, None))
    annotate_task(client, task_id, detector(lambda: body([10, 10], [20, 20], score=1.0000001), labels=BODY))
    [found] = shapes_of(client, task_id)
    assert [element["score"] for element in found["elements"]] == [1, 1]


@pytest.mark.parametrize("score", [1.0001, -0.1, float("nan")])
def test_score_out_of_range_beyond_rounding_is_refused(client, make_task, score):
    with pytest.raises(BadFunctionError, match=rf"rectangle with score {score} \(expected 0 to 1\)"):
        annotate_task(client, make_task(1), detector(lambda: rectangle(7, [10, 10, 30, 20], score=score)))


def test_output_of_a_function_is_not_modified(client, make_task):
    mine = rectangle(7, [30, 20, 10, 10], rotation=-15, score=1.0000001192)
    before = mine.model_copy(deep=True)
    annotate_task(client, make_task(1), detector(lambda: mine))
    assert mine == before


TRIANGLE = [[10.0, 10.0], [30.0, 10.0], [30.0, 20.0]]


@pytest.mark.parametrize(
    "given",
    [
        TRIANGLE,
        [tuple(corner) for corner in TRIANGLE],
        np.array(TRIANGLE),
        np.array(TRIANGLE, np.float32).reshape(3, 1, 2),
        np.array(TRIANGLE, np.int32).reshape(1, 3, 2),
        np.array(TRIANGLE).reshape(1, 6),
        torch.tensor(TRIANGLE),
        [torch.tensor(corner) for corner in TRIANGLE],
        [np.float32(number) for corner in TRIANGLE for number in corner],
        list(torch.tensor(TRIANGLE).flatten()),
        (number for corner in TRIANGLE for number in corner),
    ],
    ids=lambda given: type(given).__name__,
)
def test_nested_points_are_flattened(given):
    flat = [number for corner in TRIANGLE for number in corner]
    if not hasattr(given, "send"):  # a generator yields its numbers once
        assert polyline(7, given).points == points(7, given).points == flat
        [found] = refine_points(refiner(("polygon", given, "0.5")))
        assert found == flat
    assert polygon(7, given).points == flat


def refine_points(function):
    box = {"id": 1, "type": "rectangle", "frame": 0, "label_id": 1, "points": [5.0, 5.0, 20.0, 20.0]}
    image = PIL.Image.new("RGB", (WIDTH, HEIGHT))
    [(_, found)] = ShapeRefiner(function).refine(Frame(0, "a.png", WIDTH, HEIGHT), image, [box])
    return [body["points"] for body in found]


def test_nested_points_of_each_type_are_flattened(client, make_task):
    corners = [[x, y] for x in (10, 30) for y in (10, 20, 30, 40)]
    assert rectangle(7, np.array([[10, 10, 30, 20]])).points == [10, 10, 30, 20]
    assert rectangle(7, [[10, 10], [30, 20]]).points == [10, 10, 30, 20]
    assert cuboid(7, corners).points == [number for corner in corners for number in corner]
    assert keypoint(7, np.array([[10, 10]])).points == [10, 10]
    assert mask(7, np.array([FULL])).points == FULL
    task_id = make_task(2)
    place(client, task_id)
    track_task(client, task_id, tracker("rectangle", np.array([[10, 10], [30, 20]])))
    [track] = tracks_of(client, task_id)
    assert track["shapes"][-1]["points"] == [10, 10, 30, 20]


@pytest.mark.parametrize(
    "given", [np.zeros((4, 5)), np.ones((4, 2), bool), [[1, 2], [3, 4, 5]], [["a", "b"], ["c", "d"]]]
)
def test_invalid_points_are_not_flattened(given):
    with pytest.raises(ValueError, match="points"):
        polygon(7, given)


def test_corners_are_ordered_and_not_counted_as_clipped(client, make_task):
    task_id = make_task(1)
    report = annotate_task(client, task_id, detector(lambda: rectangle(7, [30, 20, 10, 10])))
    assert [shape["points"] for shape in shapes_of(client, task_id)] == [[10, 10, 30, 20]]
    assert counts(report) == (0, 1, 0, 0)
    assert "shapes: 1 with corners reordered" in report.lines()
    assert "| corners reordered | 1 |" in render_markdown(report)
    task_id = make_task(2)
    place(client, task_id)
    report = track_task(client, task_id, tracker("rectangle", [30, 20, 10, 10]))
    assert counts(report) == (0, 1, 0, 0)
    task_id = make_task(1)
    place(client, task_id)
    report = refine_task(client, task_id, refiner(("rectangle", [30, 20, 10, 10], "0.5")), to="polygon")
    assert counts(report) == (0, 1, 0, 0)


# --- attribute values ---


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        *((120, "120"), (np.int64(120), "120"), (120.0, "120"), (torch.tensor(120), "120"), ("120", "120")),
        *((True, "true"), (np.bool_(False), "false"), (torch.tensor(True), "true")),
        *((0.5, "0.5"), (np.float64(0.5), "0.5")),
    ],
    ids=repr,
)
def test_attribute_values_become_strings_of_cvat(client, make_task, given, stored):
    attributes = [
        number_attribute_spec("speed", 1, ["0", "200", "10"]),
        checkbox_attribute_spec("parked", 2),
        text_attribute_spec("plate", 3),
    ]
    spec_id = 2 if stored in ("true", "false") else 3 if "." in stored else 1
    of_task = [attribute.model_copy(update={"id": None}) for attribute in attributes]
    task_id = make_task(1, labels=[label_spec("car", None, attributes=of_task)])
    found = detector(
        lambda: rectangle(7, [5, 5, 9, 9], attributes=[AttributeValRequest(spec_id=spec_id, value=given)]),
        labels=[label_spec("car", 7, attributes=attributes)],
    )
    annotate_task(client, task_id, found)
    [label] = client.labels(task_id)
    of_task = {attribute.name: attribute.id for attribute in label.attributes}
    [shape] = shapes_of(client, task_id)
    values = {value["spec_id"]: value["value"] for value in shape["attributes"]}
    assert values[of_task[attributes[spec_id - 1].name]] == stored


@pytest.mark.parametrize("given", [None, {}, [1]], ids=repr)
def test_invalid_attribute_value_is_refused(given):
    with pytest.raises(ValueError, match="value"):
        AttributeValRequest(spec_id=1, value=given)
