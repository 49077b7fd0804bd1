"""What holds for the tracks of any detections."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder
from tracking.built_tracks import LABELS, assemble, exact, job, rectangle, visible_frames


@st.composite
def scenes(draw):
    """Processed frames, jobs that cover them and may overlap, objects that appear and disappear, options."""
    step = draw(st.integers(1, 4))
    size = draw(st.integers(2, 50))
    looked_at = sorted(set(range(0, size, step)) - set(draw(st.lists(st.integers(1, size), max_size=4))))
    length, overlap = draw(st.integers(2, 20)), draw(st.integers(0, 1))
    jobs, start = [], 0
    while not jobs or jobs[-1].stop_frame < size - 1:
        jobs.append(job(len(jobs) + 1, start, min(start + length - 1, size - 1)))
        start = jobs[-1].stop_frame + 1 - overlap
    coordinate = st.floats(-3, 3)
    seen = {frame: [] for frame in looked_at}
    for number in range(draw(st.integers(1, 3))):
        for frame in looked_at:
            if draw(st.sampled_from([True, True, True, False])):
                points = [draw(coordinate) + way * frame for way in (0, 1.5, 0, 1.5)]
                rotation = draw(st.sampled_from([0.0, 0.0, 1.0, 359.0, 90.0]))
                occluded = draw(st.sampled_from([False] * 5 + [True]))
                name = [{"spec_id": 11, "value": str(number)}]
                shape = rectangle(*points, rotation=rotation, occluded=occluded, attributes=name)
                shape["drawn"] = draw(st.sampled_from([False] * 9 + [True]))
                seen[frame].append((number, shape))
    options = TrackOptions(
        step=step,
        min_length=draw(st.integers(1, 3)),
        max_gap=draw(st.integers(4, 12)),
        fill_gap=draw(st.integers(0, 6)),
        tolerance=draw(st.sampled_from([0.0, 1.0, 2.0, 5.0])),
    )
    return looked_at, jobs, seen, options


def sightings(looked_at, seen, options):
    """By track, the stretches of frames that it is visible on: `[[(frame, shape), ...], ...]`."""
    tracks = []
    for number in {number for items in seen.values() for number, _ in items}:
        own = [(frame, dict(seen[frame])[number]) for frame in looked_at if number in dict(seen[frame])]
        stretches = []
        for index, (frame, shape) in enumerate(own):
            before = own[index - 1][0] if index else None
            if before is None or frame - before > options.max_gap:
                tracks.append((number, stretches := [[]]))
            elif (
                frame - before - 1 > options.fill_gap and looked_at.index(frame) - looked_at.index(before) > 1
            ):
                stretches.append([])
            stretches[-1].append((frame, shape))
    return [
        (number, stretches) for number, stretches in tracks if sum(map(len, stretches)) >= options.min_length
    ]


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_interpolation_returns_the_detections(scene):
    looked_at, jobs, seen, options = scene
    found = assemble(seen, jobs=jobs, frames=looked_at, options=options)
    wanted = []
    for number, stretches in sightings(looked_at, seen, options):
        for each in jobs:
            own = range(each.start_frame, each.stop_frame + 1)
            visible = {f for s in stretches for f in range(s[0][0], s[-1][0] + 1) if f in own}
            if visible:
                wanted.append((each.id, str(number), visible))
                [track] = [
                    track
                    for job_id, track in found
                    if (job_id, track["attributes"][0]["value"]) == (each.id, str(number))
                    and visible_frames(track, each) == visible
                ]
                for frame, shape in (each for stretch in stretches for each in stretch):
                    tolerance = 0 if shape["drawn"] else options.tolerance
                    assert frame not in own or close(interpolate(track, frame), shape, tolerance)
    assert len(found) == len(wanted)
    by_id = {each.id: each for each in jobs}
    for job_id, track in found:
        frames = [shape["frame"] for shape in track["shapes"]]
        assert frames == sorted(set(frames))
        assert frames[0] == track["frame"] >= by_id[job_id].start_frame
        assert frames[-1] <= by_id[job_id].stop_frame
        assert all(0 <= shape["rotation"] <= 360 for shape in track["shapes"])


def close(one, other, tolerance):
    radius = math.hypot(*(other["points"][i + 2] - other["points"][i] for i in (0, 1))) / 2
    turn = abs((one["rotation"] - other["rotation"] + 180) % 360 - 180)
    return (
        one["points"] == pytest.approx(other["points"], abs=tolerance + 1e-6)
        and math.radians(turn) * max(radius, 1) <= tolerance + 1e-6
        and one["occluded"] == other.get("occluded", False)
    )


@settings(max_examples=100, deadline=None)
@given(scenes(), st.lists(st.booleans(), min_size=1))
def test_tracks_do_not_depend_on_when_they_are_taken(scene, takes):
    looked_at, jobs, seen, options = scene
    assembler = TrackBuilder(jobs, options, LABELS)
    taken = []
    for index, frame in enumerate(looked_at):
        assembler.add(frame, seen[frame], exact(seen[frame]))
        if takes[index % len(takes)]:
            taken += assembler.take()
    over = {each.id for each in jobs} - assembler.open_jobs
    taken += assembler.take()
    assembler.finish()
    rest = assembler.take()
    assert over.isdisjoint(number for number, _ in rest)
    assert taken + rest == assemble(seen, jobs=jobs, frames=looked_at, options=options)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(50, 300), st.floats(0, 6), st.floats(100, 400), st.floats(0, 6), st.lists(st.floats(-0.5, 0.5), min_size=200, max_size=200)
)  # fmt: skip
def test_smooth_motion_needs_keyframes_for_at_most_a_quarter_of_the_boxes(width, phase, period, speed, noise):
    def points(frame):
        left = 200 + speed * frame + 50 * math.sin(phase + 2 * math.pi * frame / period)
        top = 100 + 30 * math.cos(phase + 2 * math.pi * frame / period) + noise[frame]
        return left + noise[-frame], top, left + width - noise[frame], top + 2 * width

    seen = {frame: rectangle(*points(frame)) for frame in range(200)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 199)])
    assert len(track["shapes"]) <= 50
