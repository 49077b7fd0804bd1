"""Tracking functions of the SDK, on videos, and in bounded memory."""

import tracemalloc
from pathlib import Path

import cvat_sdk.auto_annotation as sdk_interface
import numpy as np
import pytest

from clips import clip, number_on
from moving_blocks import World, box, visible
from prefect_cvat.auto_annotation import (
    TrackableShape,
    TrackingFunctionSpec,
)
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job, Label
from prefect_cvat.tracking.source_shapes import COPY, SourceShapes
from prefect_cvat.tracking.track_merger import TrackMerger


class Numbers:
    """Moves shapes right by the increase of the number on the picture."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle", "polygon", "points", "ellipse"})

    def preprocess_image(self, context, image):
        return number_on(image)

    def init_tracking_state(self, context, number, shape):
        return number, shape

    def track(self, context, number, state):
        first, shape = state
        points = [value + (number - first) * (1 - i % 2) for i, value in enumerate(shape.points)]
        return TrackableShape(type=shape.type, points=points)


def test_runs_function_written_for_the_sdk(world):
    class Sdk:
        spec = sdk_interface.TrackingFunctionSpec(supported_shape_types={"rectangle"})

        def init_tracking_state(self, context, pp_image, shape):
            assert context.original_shape_type == "rectangle"
            return list(shape.points)

        def track(self, context, pp_image, state):
            state[0] += 2
            state[2] += 2
            return sdk_interface.TrackableShape(type="rectangle", points=list(state))

    here = world()
    here.place(here.shape(3))
    assert here.run(Sdk()).tracks == {"car": 1}
    [track] = here.tracks()
    assert interpolate(track, 11)["points"] == box(22)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize(("chunk_size", "part"), [(4, 75), (40, 75), (40, 7)])
def test_videos(client, video_task, monkeypatch, downloads, direction, chunk_size, part):
    monkeypatch.setattr("prefect_cvat.planning.plan.PART_FRAMES", part)
    here = World(client, video_task(clip(range(40)), segment_size=15, chunk_size=chunk_size))
    here.place(here.shape(18, x=60), job=1)
    here.place(here.shape(19, row=40, x=50), job=1)
    here.run(Numbers(), direction=direction, options={"frames_per_batch": 15})
    if chunk_size == 40:
        assert downloads in ([0], [0, 0] if direction == "both" else [0]), "once each way, or for both"
    for x, row, seed in ((60, 10, 18), (50, 40, 19)):
        frames = {"forward": range(seed, 40), "backward": range(seed + 1), "both": range(40)}[direction]
        for index, job in enumerate(here.jobs):
            own = [f for f in frames if job.start_frame <= f <= job.stop_frame]
            tracks = [t for t in here.tracks(index) if t["shapes"][0]["points"][1] == row]
            assert len(tracks) == bool(own)
            for track in tracks:
                assert [f for f in visible(track, 40) if f <= job.stop_frame] == own
                for frame in own:
                    assert interpolate(track, frame)["points"] == pytest.approx(box(x + frame - seed, row))


def test_tracks_persons_in_a_real_video(client, sdk, test_data):
    """Four persons from frame 20 on, both ways, against persons that were checked by hand."""
    pytest.importorskip("cv2")
    from prefect_cvat.auto_annotation.loading import load_function

    reference = {}
    folder = Path(__file__).parents[1] / "data"
    for line in (folder / "pedestrians-60.txt").read_text().splitlines():
        frame, person, left, top, width, height = map(float, line.split(",")[:6])
        reference.setdefault(int(person), {})[int(frame) - 1] = [left, top, left + width, top + height]
    task = sdk.tasks.create_from_data(
        {"name": "pedestrians", "labels": [{"name": "car"}], "segment_size": 30, "overlap": 5},
        [test_data / "video" / "pedestrians.mp4"],
        data_params={"image_quality": 70, "chunk_size": 10},
    )
    here = World(client, task.id)
    persons = [person for person, boxes in reference.items() if 20 in boxes]
    here.place(*(here.shape(20, points=reference[person][20]) for person in persons))

    report = here.run(
        load_function("optical_flow_tracking"), direction="both", options={"frames": range(10, 31)}
    )

    tracks = here.tracks()
    assert report.tracks == {"car": len(persons)}
    overlaps = []
    for person in persons:
        [track] = [t for t in tracks if interpolate(t, 20)["points"] == reference[person][20]]
        for frame in range(10, 30):
            shape = interpolate(track, frame)
            if frame in reference[person]:
                overlaps.append(0.0 if shape is None else iou(shape["points"], reference[person][frame]))
    assert len(overlaps) > 40
    assert sum(overlap > 0.5 for overlap in overlaps) / len(overlaps) > 0.7
    assert here.shapes() == []


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if min(width, height) <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return width * height / (sum(areas) - width * height)


def test_memory_of_backward_pass_is_bounded(tmp_path):
    """Five objects with so much jitter that every shape becomes a keyframe."""

    def peak(last, folder):
        folder.mkdir()
        jobs = [
            Job(id=n, task_id=1, start_frame=50 * n, stop_frame=50 * n + 49) for n in range(last // 50 + 1)
        ]
        copies = np.zeros(5, COPY)
        copies["digest"] = copies["id"] = range(5)
        copies["job"], copies["frame"], copies["label"] = jobs[-1].id, last, 1
        sources = SourceShapes(copies, LinesByFrame(), {1: Label(id=1, name="car")})
        shape = {"type": "rectangle", "label_id": 1, "rotation": 0.0, "attributes": []}
        rng = np.random.default_rng(1)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        tracks = TrackMerger(jobs, sources, last_frame=last, tolerance=0.5, folder=folder)
        for start in reversed(range(0, last, 50)):
            tracks.add_backward(
                [
                    {
                        "frame": frame,
                        "shapes": [
                            (number, False, {**shape, "points": rng.uniform(0, 9, 4).tolist()})
                            for number in range(5)
                        ],
                    }
                    for frame in range(start, start + 50)
                ]
            )
        drawn = {**shape, "points": [0.0, 0.0, 9.0, 9.0]}
        tracks.add([{"frame": last, "shapes": [(number, True, drawn) for number in range(5)]}])
        tracks.finish()
        assert sum(len(pack) for _, _, pack in tracks.packs(with_sources=False)) == 5 * (last // 50)
        assert tracks.keyframes > 4 * last
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        peak(100, tmp_path / "warm")
        short = peak(200, tmp_path / "short")
        long = peak(1600, tmp_path / "long")
    finally:
        tracemalloc.stop()
    assert long < short + 500_000  # the shapes of 1,400 more frames would take 2,000,000 in lists
