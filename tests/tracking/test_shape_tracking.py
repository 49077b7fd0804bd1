"""Tracking functions on whole tasks, over real HTTP: shapes become tracks."""

import random

import pytest

from moving_blocks import BLUE, GREEN, RED, Blocks, box, keyframes, visible
from prefect_cvat.geometry.interpolation import interpolate


def test_tracks_shape_to_the_last_frame(world):
    here = world()
    colour, turn = here.labels["car"].attributes
    seed = here.shape(
        3,
        z_order=2,
        occluded=True,
        group=7,
        attributes=[{"spec_id": colour.id, "value": "blue"}, {"spec_id": turn.id, "value": "r"}],
    )
    here.place(seed)

    report = here.run()

    [track] = here.tracks()
    assert here.shapes() == []
    assert (track["source"], track["group"], track["label_id"]) == ("semi-auto", 7, seed["label_id"])
    assert track["attributes"] == [{"spec_id": colour.id, "value": "blue"}]
    assert keyframes(track) == [(3, False), (11, False)]
    for shape in track["shapes"]:
        assert (shape["z_order"], shape["occluded"]) == (2, True)
        assert shape["attributes"] == [{"spec_id": turn.id, "value": "r"}]
    assert visible(track, 12) == list(range(3, 12))
    for frame in range(3, 12):
        assert interpolate(track, frame)["points"] == box(2 * frame)
    assert (report.source_shapes, report.tracks, report.lost, report.frames) == (1, {"car": 1}, 0, 9)
    assert (report.labels, report.keyframes, report.track_frames) == ({"car": 8}, 2, 9)
    assert (report.added, report.removed) == (1, 1)
    assert "tracked: 1 shape, lost 0 times" in report.lines()


@pytest.mark.parametrize(
    ("direction", "frames", "fetched"),
    [
        ("forward", range(5, 12), [2, 3, 4, 5]),
        ("backward", range(6), [0, 1, 2]),
        ("both", range(12), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_directions(world, downloads, direction, frames, fetched):
    here = world()
    here.place(here.shape(5))
    function = Blocks()
    report = here.run(function, direction=direction)
    [track] = here.tracks()
    assert visible(track, 12) == list(frames)
    assert (5, False) in keyframes(track)
    for frame in frames:
        assert interpolate(track, frame)["points"] == box(2 * frame)
    assert sorted(set(downloads)) == fetched
    assert len(downloads) <= len(fetched) + 1, "both ways may share the chunk where they begin"
    assert report.frames == len(frames)
    assert function.preprocessed == len(frames) + (direction == "both")


def test_preprocesses_each_image_once(world):
    here = world()
    here.place(here.shape(0), here.shape(0, row=20), here.shape(0, row=30, label="person"))
    function = Blocks()
    report = here.run(function)
    assert function.preprocessed == 12
    assert report.tracks == {"car": 2, "person": 1}


@pytest.mark.parametrize(
    ("direction", "until", "frames"), [("forward", 8, range(5, 9)), ("backward", 2, range(2, 6))]
)
def test_until(world, downloads, direction, until, frames):
    here = world()
    here.place(here.shape(5), here.shape(until + (1 if direction == "forward" else -1), row=20))
    report = here.run(direction=direction, until=until)
    [track] = here.tracks()
    assert visible(track, 12) == list(frames)
    assert keyframes(track)[-1] == (frames[-1] + 1, True)
    assert report.source_shapes_left_out == {f"beyond frame {until}": 1}
    assert len(here.shapes()) == 1
    assert sorted(downloads) == sorted({frame // 2 for frame in frames})


def test_lost_shape_is_outside_on_next_frame_and_fetching_stops(world, downloads):
    here = world(40, hidden={(RED, 6)})
    here.place(here.shape(2))
    report = here.run(options={"frames_per_batch": 2, "window": 1})
    [track] = here.tracks()
    assert keyframes(track) == [(2, False), (5, False), (6, True)]
    assert report.lost == 1
    assert len(downloads) <= 4  # one batch may be on its way while another one is looked at


def test_skips_chunks_between_lost_shape_and_next_source_shape(world, downloads):
    here = world(40, hidden={(RED, 3)})
    here.place(here.shape(1), here.shape(35, row=20))
    here.run(options={"frames_per_batch": 2, "window": 1})
    assert set(downloads) <= {0, 1, 2, 17, 18, 19}
    assert len(here.tracks()) == 2


def test_shape_lost_on_first_frame_is_kept_as_a_shape(world):
    here = world(hidden={(RED, 6), (GREEN, 8)})
    here.place(here.shape(5), here.shape(5, row=20))
    before = here.shapes()
    report = here.run()
    [track] = here.tracks()
    assert keyframes(track) == [(5, False), (7, False), (8, True)]
    assert here.shapes() == [shape for shape in before if shape["points"] == box(10)]
    assert (report.lost, report.tracks) == (2, {"car": 1})
    assert here.run().tracks == {}
    assert len(here.tracks()) == 1


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_shapes_of_a_group_are_keyframes_of_one_track(world, direction):
    here = world(20, hidden={(RED, 7), (RED, 8)})
    turn = here.labels["car"].attributes[1]
    right = [{"spec_id": turn.id, "value": "r"}]
    off = [value + 0.5 for value in box(20)]
    here.place(here.shape(3, group=4), here.shape(10, group=4, points=off, attributes=right))
    report = here.run(direction=direction)
    [track] = here.tracks()
    frames = {
        "forward": [*range(3, 7), *range(10, 20)],
        "backward": [*range(4), 9, 10],
        "both": [*range(7), *range(10, 20)],
    }[direction]
    assert visible(track, 20) == frames
    by_frame = {shape["frame"]: shape for shape in track["shapes"]}
    assert by_frame[3]["points"] == box(6)
    assert by_frame[10]["points"] == off
    last = interpolate(track, 10)
    assert [item["value"] for item in last["attributes"]] == ["r"]
    assert [item["value"] for item in interpolate(track, 3)["attributes"]] == ["l"]
    assert here.shapes() == []
    assert (report.source_shapes, report.tracks) == (2, {"car": 1})


def test_group_with_several_shapes_on_a_frame_gives_several_tracks(world):
    here = world()
    here.place(here.shape(3, group=4), here.shape(3, row=20, group=4), here.shape(6, row=30, group=4))
    here.run()
    assert sorted(track["shapes"][0]["frame"] for track in here.tracks()) == [3, 3, 6]
    assert {track["group"] for track in here.tracks()} == {4}


def test_same_group_number_in_other_job_is_another_object(world):
    """CVAT numbers groups separately in each job."""
    here = world(24, segment_size=8, overlap=2)
    here.place(here.shape(3, group=4), job=0)
    here.place(here.shape(20, row=20, group=4), job=3)
    assert here.run().tracks == {"car": 2}


def test_other_label_in_group_is_another_object(world):
    here = world()
    here.place(here.shape(3, group=4), here.shape(6, row=20, group=4, label="person"))
    assert here.run().tracks == {"car": 1, "person": 1}


def test_shapes_after_last_frame_are_kept(world):
    here = world()
    here.place(here.shape(3, group=4), here.shape(10, group=4))
    here.run(until=7)
    [track] = here.tracks()
    assert visible(track, 12) == [3, 4, 5, 6, 7]
    assert [shape["frame"] for shape in here.shapes()] == [10]


def test_source_shape_within_tolerance_is_still_a_keyframe(world):
    here = world()
    here.place(here.shape(0, group=1), here.shape(5, group=1))
    here.run(tolerance=50)
    [track] = here.tracks()
    assert keyframes(track) == [(0, False), (5, False), (11, False)]


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_shape_in_two_jobs_is_tracked_once_and_removed_from_both(world, direction):
    here = world(20, segment_size=8, overlap=3)
    assert [(job.start_frame, job.stop_frame) for job in here.jobs] == [(0, 7), (5, 12), (10, 17), (15, 19)]
    here.place(here.shape(6), job=0)
    here.place(here.shape(6), job=1)
    report = here.run(direction=direction)
    first, last = {"forward": (6, 19), "backward": (0, 6), "both": (0, 19)}[direction]
    for index, job in enumerate(here.jobs):
        frames = [f for f in range(job.start_frame, job.stop_frame + 1) if first <= f <= last]
        assert here.shapes(index) == []
        tracks = here.tracks(index)
        assert len(tracks) == bool(frames)
        for track in tracks:
            assert [f for f in visible(track, 20) if f <= job.stop_frame] == frames
            assert max(shape["frame"] for shape in track["shapes"]) <= job.stop_frame
            assert all(interpolate(track, frame)["points"] == box(2 * frame) for frame in frames)
    assert (report.source_shapes, report.tracks, report.removed) == (1, {"car": 1}, 2)
    [whole] = here.client._transport.json("GET", f"/api/tasks/{here.task_id}/annotations")["tracks"]
    assert visible(whole, 20) == list(range(first, last + 1))


def test_shape_in_one_of_two_overlapping_jobs_becomes_track_in_both(world):
    here = world(12, segment_size=8, overlap=3)
    here.place(here.shape(6), job=1)
    here.run()
    assert [keyframes(here.tracks(index)[0])[0] for index in range(2)] == [(6, False), (6, False)]
    assert here.shapes(1) == []


def test_source_shape_on_last_frame_of_its_job(world):
    here = world(12, segment_size=6)
    here.place(here.shape(5))
    here.run()
    assert [keyframes(here.tracks(index)[0]) for index in range(2)] == [
        [(5, False)],
        [(6, False), (11, False)],
    ]


@pytest.mark.parametrize("number", range(8))
def test_random_jobs_keyframes_and_hidden_frames(world, number):
    """Against a plain description of what must be visible where."""
    rng = random.Random(number)
    size = rng.randint(10, 30)
    rows = {RED: 10, GREEN: 20, BLUE: 30}
    hidden = {(colour, frame) for colour in rows for frame in range(size) if rng.random() < 0.15}
    here = world(
        size,
        hidden=hidden,
        segment_size=rng.randint(5, 15),
        overlap=rng.randint(0, 3),
        chunk_size=rng.randint(1, 6),
    )
    direction = rng.choice(["forward", "backward", "both"])
    seeds = {}
    for colour, row in rows.items():
        home = rng.randrange(len(here.jobs))
        own = range(here.jobs[home].start_frame, here.jobs[home].stop_frame + 1)
        seen = [frame for frame in own if (colour, frame) not in hidden] or [own[0]]
        seeds[row] = sorted(rng.sample(seen, rng.randint(1, min(3, len(seen)))))
        for frame in seeds[row]:
            here.place(here.shape(frame, row=row, group=row), job=home)
            for i, job in enumerate(here.jobs):
                if i != home and job.start_frame <= frame <= job.stop_frame and rng.random() < 0.5:
                    here.place(here.shape(frame, row=row, group=row), job=i)

    report = here.run(direction=direction, options={"frames_per_batch": rng.randint(1, 7)})

    tracked = 0
    for colour, row in rows.items():
        own = set(seeds[row])
        ways = []
        if direction != "backward":
            ways += [range(frame, size) for frame in seeds[row]]
        if direction == "backward":
            ways += [range(frame, -1, -1) for frame in seeds[row]]
        if direction == "both":
            ways.append(range(seeds[row][0], -1, -1))
        frames = set(own)
        for way in ways:
            for frame in way[1:]:
                if (colour, frame) in hidden or frame in own:
                    break
                frames.add(frame)
        tracked += frames > own
        for index, job in enumerate(here.jobs):
            inside = [frame for frame in sorted(frames) if job.start_frame <= frame <= job.stop_frame]
            tracks = [track for track in here.tracks(index) if track["group"] == row]
            shapes = [shape for shape in here.shapes(index) if shape["group"] == row]
            assert len(tracks) == bool(inside and frames > own)
            for track in tracks:
                assert [f for f in visible(track, size) if f <= job.stop_frame] == inside
                assert all(interpolate(track, frame)["points"] == box(2 * frame, row) for frame in inside)
            assert not (shapes and tracks)
    assert report.tracks == ({"car": tracked} if tracked else {})
