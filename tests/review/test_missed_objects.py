"""How many missed objects the ranking of frames expects."""

import pytest

from prefect_cvat.models import Job
from prefect_cvat.review.frame_ranking import rank_frames
from prefect_cvat.review.frame_summary import FrameSummaries, FrameSummary, summarize_shapes

JOBS = [Job(id=1, task_id=5, type="annotation", start_frame=0, stop_frame=9, state="new", stage="annotation")]
SURE = {"type": "rectangle", "label_id": 1, "points": [0, 0, 9, 9], "score": 1.0}


def frame(number, expected_missed):
    """A frame with a shape that is right, and with detections that were not written."""
    summary: FrameSummary = summarize_shapes(number, [SURE])
    summary.unwritten = int(expected_missed > 0)
    summary.expected_missed = expected_missed
    return summary


def expected(summaries, missed_per_frame):
    reviews = rank_frames(
        FrameSummaries(summaries),
        labels={1: "car"},
        jobs=JOBS,
        url="",
        max_frames=9,
        missed_per_frame=missed_per_frame,
    )
    return {review.frame: review.expected_corrections for review in reviews}


def test_detections_below_the_threshold_count_as_they_are_where_nothing_was_learned():
    assert expected([frame(0, 6.0), frame(1, 2.0)], None) == {0: 6.0, 1: 2.0}


def test_at_most_twice_as_many_are_missed_as_corrections_have_shown():
    assert expected([frame(0, 6.0), frame(1, 2.0)], 0.5) == {0: 1.5, 1: 0.5}
    assert expected([frame(0, 6.0), frame(1, 2.0)], 2.0) == {0: 6.0, 1: 2.0}


def test_the_rest_is_on_every_frame_if_detections_are_fewer():
    assert expected([frame(0, 1.0), frame(1, 0.0)], 2.0) == {0: 2.5, 1: 1.5}


@pytest.mark.parametrize("missed_per_frame", [0.0, 1.5])
def test_frames_without_detections_below_the_threshold(missed_per_frame):
    corrections = {0: missed_per_frame} if missed_per_frame else {}
    assert expected([frame(0, 0.0)], missed_per_frame) == corrections
