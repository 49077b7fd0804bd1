"""The seconds that one annotation takes, with and without what a run wrote."""

import pytest

from prefect_cvat.corrections import Correction
from prefect_cvat.corrections.correction_seconds import seconds_with_run, seconds_without_run
from prefect_cvat.corrections.shape_changes import changed_keyframes, is_moved, moved_corners
from prefect_cvat.corrections.threshold_advice import best_cut
from prefect_cvat.frames import Frame
from prefect_cvat.options.correction_options import CorrectionSeconds

FRAME = Frame(0, "0.png", 100, 100)
SECONDS = CorrectionSeconds(
    draw_box=100, draw_outline=1000, draw_point=3, add_tag=7, move_edge=10, confirm=1
)  # fmt: skip


def shape(kind, points, **fields):
    return {"type": kind, "frame": 0, "label_id": 1, "points": list(points), **fields}


def keyframe(frame, x, **fields):
    return {
        "type": "rectangle",
        "frame": frame,
        "points": [x, 0, x + 10, 10],
        "rotation": 0.0,
        "outside": False,
        "occluded": False,
        "z_order": 0,
        "attributes": [],
        **fields,
    }


def track(*keyframes):
    return {"frame": keyframes[0]["frame"], "label_id": 1, "shapes": list(keyframes)}


def moved(written, current):
    return Correction("moved", 0, "car", written, current, "f", "run", "car", is_moved=True)


@pytest.mark.parametrize(
    ("annotation", "seconds"),
    [
        (shape("rectangle", [0, 0, 10, 10]), 100),
        (shape("ellipse", [5, 5, 10, 0]), 100),
        (shape("polygon", [0, 0, 10, 0, 10, 10]), 1000),
        (shape("mask", [0, 4, 0, 0, 1, 1]), 1000),
        (shape("polyline", [0, 0, 10, 0, 10, 10]), 9),
        (shape("points", [0, 0]), 3),
        ({"frame": 0, "label_id": 1}, 7),
        (
            shape("skeleton", [], elements=[
                {"type": "points", "label_id": i, "points": [i, 1], "outside": i == 2} for i in range(3)
            ]),
            6,
        ),
        (track(keyframe(0, 0), keyframe(5, 9), keyframe(9, 20), keyframe(12, 20, outside=True)), 120),
    ],
    ids=lambda value: value.get("type", "other") if isinstance(value, dict) else "",
)  # fmt: skip
def test_drawing_by_hand(annotation, seconds):
    drawn = Correction("drawn", 0, "car", None, annotation, None, "")
    assert seconds_without_run(drawn, SECONDS) == seconds_with_run(drawn, FRAME, SECONDS) == seconds


@pytest.mark.parametrize(
    ("now", "drags"),
    [
        ([0, 0, 10, 10], 0),
        ([0.3, 0, 10, 10.4], 0),
        ([2, 0, 10, 10], 1),
        ([2, 2, 10, 10], 1),
        ([2, 0, 12, 10], 1),
        ([2, 0, 10, 13], 1),
        ([5, 5, 15, 15], 1),
        ([2, 0, 15, 10], 2),
        ([2, 3, 15, 20], 2),
    ],
)
def test_drags_of_a_box(now, drags):
    assert moved_corners([0, 0, 10, 10], now) == drags


def test_outline_is_drawn_again_as_far_as_it_differs():
    square, half = [0, 0, 20, 0, 20, 20, 0, 20], [0, 0, 10, 0, 10, 20, 0, 20]
    done = moved(shape("polygon", square), shape("polygon", half))
    assert seconds_with_run(done, FRAME, SECONDS) == pytest.approx(1 + 500, abs=30)
    almost = [0, 0, 20, 0, 20, 20, 0, 20.8]
    done = moved(shape("polygon", square), shape("polygon", almost))
    assert seconds_with_run(done, FRAME, SECONDS) < 1 + 60


def test_changed_keyframes_of_a_track():
    written = track(keyframe(0, 0), keyframe(10, 20))
    assert changed_keyframes(written, track(keyframe(0, 0), keyframe(5, 10), keyframe(10, 20))) == 0
    assert changed_keyframes(written, track(keyframe(0, 0), keyframe(5, 14), keyframe(10, 20))) == 1
    assert changed_keyframes(written, track(keyframe(0, 0), keyframe(6, 12, outside=True))) == 1
    assert not is_moved(written, written)


def test_changed_type_counts_as_drawn_again():
    done = moved(shape("rectangle", [0, 0, 10, 10]), shape("polygon", [0, 0, 10, 0, 10, 10]))
    assert seconds_with_run(done, FRAME, SECONDS) == 1 + 1000


@pytest.mark.parametrize(
    ("scored", "expected"),
    [
        ([(0.9, 5), (0.8, 5), (0.4, -3), (0.2, -3)], (0.6, 10)),
        ([(0.9, -5), (0.8, 11), (0.4, -3)], (0.6, 6)),
        ([(0.9, -5), (0.8, 2)], (None, 0)),
        ([(0.5, 5), (0.5, -3)], (0.25, 2)),
        ([], (None, 0)),
    ],
)
def test_threshold_that_would_have_saved_most(scored, expected):
    threshold, gain = best_cut(scored)
    assert (threshold, gain) == (pytest.approx(expected[0]) if expected[0] else None, expected[1])
