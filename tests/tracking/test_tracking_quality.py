"""Tracks of what NanoDet found on a real clip, against persons that were checked by hand."""

import importlib.util
import sys
from pathlib import Path

import pytest

from prefect_cvat.options.track_options import Tracker, TrackOptions

DATA = Path(__file__).parents[1] / "data"
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tracking_quality.py"


@pytest.fixture(scope="module")
def benchmark():
    pytest.importorskip("av")
    spec = importlib.util.spec_from_file_location("tracking_quality", SCRIPT)
    module = sys.modules["tracking_quality"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detections():
    """What NanoDet found, with a score of 0.4 or more: its default."""
    found = [[] for _ in range(60)]
    for line in (DATA / "pedestrians-60-nanodet.txt").read_text().splitlines():
        frame, _, left, top, width, height, score = map(float, line.split(","))
        if score >= 0.4:
            found[int(frame) - 1].append(
                {
                    "type": "rectangle",
                    "label_id": 1,
                    "points": [left, top, left + width, top + height],
                    "score": score,
                    "attributes": [],
                }
            )
    return found


@pytest.mark.parametrize("tracker", list(Tracker))
def test_persons_that_occlude_each_other_are_mostly_separated(benchmark, detections, tracker):
    """Measured with ByteTrack: 8 tracks, 5 switches, MOTA 0.61, IDF1 0.72 (see benchmarks/README.md)."""
    quality = benchmark.measure(detections, TrackOptions(tracker=tracker), benchmark.read_reference())
    assert len(quality.lengths) <= 11
    assert quality.switches <= 9
    assert quality.mota >= 0.5
    assert quality.idf1 >= 0.6


@pytest.mark.parametrize(("step", "mota", "idf1"), [(2, 0.55, 0.6), (4, 0.55, 0.6), (6, 0.4, 0.45)])
def test_persons_are_separated_with_a_step_of_several_frames(benchmark, detections, step, mota, idf1):
    """Measured: MOTA 0.66, 0.68, 0.57; with plain overlaps, without growing boxes, 0.64, 0.25, 0.19."""
    quality = benchmark.measure(detections, TrackOptions(step=step), benchmark.read_reference())
    assert quality.mota >= mota
    assert quality.idf1 >= idf1


def test_the_reference_against_itself_is_perfect(benchmark):
    reference = benchmark.read_reference()
    found = [
        [
            {
                "type": "rectangle",
                "label_id": person,
                "points": [x, y, x + width, y + height],
                "attributes": [],
            }
            for person, (x, y, width, height) in reference.get(frame, [])
        ]
        for frame in range(60)
    ]
    quality = benchmark.measure(found, TrackOptions(tolerance=0.0), reference)
    assert (quality.mota, quality.idf1, quality.switches) == (1, 1, 0)
    assert quality.overlap == pytest.approx(1)
    assert quality.keyframes_per_box <= 1 + 6 / 295
