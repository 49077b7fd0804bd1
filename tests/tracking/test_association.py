"""Associating detections to tracks: the same numbers for the same objects, and no detection lost on the way."""

import random
import sys
import tracemalloc
from itertools import pairwise

import pytest

from prefect_cvat.options.track_options import Tracker, TrackOptions
from prefect_cvat.tracking.detection_association import DetectionAssociator

TRACKERS = pytest.mark.parametrize("tracker", list(Tracker))


def box(left, top=0.0, *, size=40.0, label_id=1, score=0.9, **fields):
    return {
        "type": "rectangle",
        "label_id": label_id,
        "points": [left, top, left + size, top + size],
        "score": score,
        **fields,
    }


def numbers(found):
    return [number for number, _ in found]


@TRACKERS
@pytest.mark.parametrize("step", [1, 3])
def test_each_detection_has_the_number_of_its_object_from_the_first(tracker, step):
    associator = DetectionAssociator(TrackOptions(tracker=tracker, step=step))
    by_object = {}
    for frame in range(0, 60, step):
        shapes = [box(4 * frame, 100 * index, name=index) for index in range(5)]
        random.Random(frame).shuffle(shapes)
        found = associator.update(frame, shapes)
        assert [shape for _, shape in found] == shapes
        for number, shape in found:
            by_object.setdefault(shape["name"], set()).add(number)
    assert sorted(map(len, by_object.values())) == [1] * 5
    assert len(set.union(*by_object.values())) == 5


@TRACKERS
def test_labels_and_types_never_mix_and_numbers_are_unique_among_them(tracker):
    associator = DetectionAssociator(TrackOptions(tracker=tracker))
    shapes = [box(0), box(0, label_id=2), box(0, type="polygon"), box(0, label_id=2, type="polygon")]
    first = numbers(associator.update(0, shapes))
    assert len(set(first)) == 4
    assert numbers(associator.update(1, shapes[::-1])) == first[::-1]


def test_object_returns_within_maximum_gap_at_any_step():
    for step in (1, 5):
        for gap, is_same in ((20, True), (25, False)):
            associator = DetectionAssociator(TrackOptions(step=step, max_gap=20))
            [first] = numbers(associator.update(0, [box(0)]))
            for frame in range(step, gap, step):
                assert associator.update(frame, []) == []
            [second] = numbers(associator.update(gap, [box(0)]))
            assert (first == second) == is_same, (step, gap)


def test_low_score_detection_continues_a_track_but_begins_none():
    associator = DetectionAssociator(TrackOptions(high_confidence=0.6, activation=0.7))
    assert associator.update(0, [box(0, score=0.4), box(200, score=0.65)]) == []
    [first] = numbers(associator.update(1, [box(0, score=0.7)]))
    assert numbers(associator.update(2, [box(1, score=0.2), box(300, score=0.2)])) == [first]


def test_predicts_the_motion_of_fast_objects():
    """30 pixels a frame at a width of 40: on every other frame boxes would not touch where they were."""
    associator = DetectionAssociator(TrackOptions(min_iou=0.1))
    for frame in range(6):
        [first] = numbers(associator.update(frame, [box(30 * frame)]))
    assert numbers(associator.update(8, [box(240)])) == [first]


@TRACKERS
def test_tracks_points_without_area(tracker):
    associator = DetectionAssociator(TrackOptions(tracker=tracker))
    found = [
        associator.update(frame, [box(0) | {"type": "points", "points": [3 * frame, 7]}])
        for frame in range(9)
    ]
    assert {number for each in found for number in numbers(each)} == {1}


@TRACKERS
def test_equal_boxes_are_two_objects(tracker):
    associator = DetectionAssociator(TrackOptions(tracker=tracker))
    assert sorted(numbers(associator.update(0, [box(0), box(0)]))) == [1, 2]
    assert sorted(numbers(associator.update(1, [box(0), box(0)]))) == [1, 2]


@TRACKERS
def test_the_same_input_gives_the_same_numbers(tracker):
    def run():
        rng = random.Random(3)
        associator = DetectionAssociator(TrackOptions(tracker=tracker))
        return [
            numbers(
                associator.update(
                    frame,
                    [
                        box(
                            60 * index + rng.gauss(0, 8),
                            rng.gauss(0, 8),
                            score=rng.random(),
                            label_id=1 + index % 2,
                        )
                        for index in range(rng.randint(0, 8))
                    ],
                )
            )
            for frame in range(80)
        ]

    assert run() == run()


def test_frames_must_ascend():
    associator = DetectionAssociator(TrackOptions())
    associator.update(3, [])
    with pytest.raises(ValueError, match="frame 3 follows frame 3"):
        associator.update(3, [])


def test_names_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ImportError, match=r'pip install "prefect-cvat\[video\]"'):
        DetectionAssociator(TrackOptions())


@TRACKERS
def test_memory_does_not_grow_with_the_frames(tracker):
    associator = DetectionAssociator(TrackOptions(tracker=tracker))

    def run(frames):
        for frame in frames:
            # objects that go by, so that tracks end and others begin
            shapes = [box((7 * frame + 90 * index) % 700, 60 * index) for index in range(6)]
            associator.update(frame, shapes)

    run(range(300))
    tracemalloc.start()
    try:
        run(range(300, 500))
        traced = [tracemalloc.get_traced_memory()[0]]
        for start in (500, 1500, 2500):
            run(range(start, start + 1000))
            traced.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # other threads of the process may allocate in one of the three
    assert min(after - before for before, after in pairwise(traced)) < 100_000


@TRACKERS
def test_finds_objects_again_after_skipped_frames(tracker):
    """Half as far again as it is wide, and nothing was known of its motion."""
    for step, is_same in ((1, False), (5, True)):
        associator = DetectionAssociator(TrackOptions(tracker=tracker, step=step))
        [first] = numbers(associator.update(0, [box(0)]))
        assert (numbers(associator.update(step, [box(60)])) == [first]) == is_same, step
