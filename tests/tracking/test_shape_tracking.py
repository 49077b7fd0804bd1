"""Tracking functions on whole tasks, over real HTTP: shapes become tracks, exactly once."""

import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cvat_sdk.auto_annotation as sdk_interface
import numpy as np
import pytest

from clips import clip, number_on
from moving_blocks import BLUE, GREEN, RED, Blocks, World, box, png
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    TrackableShape,
    TrackingFunctionSpec,
    label_spec,
)
from prefect_cvat.exceptions import IncompleteRunError, StorageError, UnsupportedTaskError
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.http.transport import Transport
from prefect_cvat.models import Job, Label
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.runs.track_shapes_run import PlannedTrackShapesRun
from prefect_cvat.tracking.shape_tracks import ShapeTracks
from prefect_cvat.tracking.source_shapes import COPY, SourceShapes
from prefect_cvat.upload.job_writer import JobWriter
from served_chunks import with_chunks


class Numbers:
    """Moves shapes to the right by as much as the number on the picture grows."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle", "polygon", "points", "ellipse"})

    def preprocess_image(self, context, image):
        return number_on(image)

    def init_tracking_state(self, context, number, shape):
        return number, shape

    def track(self, context, number, state):
        first, shape = state
        points = [value + (number - first) * (1 - i % 2) for i, value in enumerate(shape.points)]
        return TrackableShape(type=shape.type, points=points)


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.5")


@pytest.fixture
def downloads(monkeypatch):
    """The numbers of the chunks that are fetched."""
    numbers = []
    with_chunks(monkeypatch, lambda params, data: numbers.append(params["number"]))
    return numbers


def visible(track, frames):
    return [frame for frame in range(frames) if interpolate(track, frame) is not None]


def keyframes(track):
    return [(shape["frame"], shape["outside"]) for shape in track["shapes"]]


# --- ways ----------------------------------------------------------------------------------------


def test_a_shape_is_carried_to_the_end_and_becomes_a_track(world):
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
        ("backward", range(6), [2, 1, 0]),
        ("both", range(12), [2, 1, 0, 2, 3, 4, 5]),
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
    assert downloads == fetched
    assert report.frames == len(frames)
    assert function.preprocessed == len(frames) + (direction == "both")


def test_an_image_is_preprocessed_once_for_all_shapes(world):
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
    assert report.source_shapes_left_out == {f"behind frame {until}": 1}
    assert len(here.shapes()) == 1
    assert sorted(downloads) == sorted({frame // 2 for frame in frames})


def test_what_is_lost_is_outside_on_the_next_frame_and_no_more_is_fetched(world, downloads):
    here = world(40, hidden={(RED, 6)})
    here.place(here.shape(2))
    report = here.run(options={"batch_size": 2, "window": 1})
    [track] = here.tracks()
    assert keyframes(track) == [(2, False), (5, False), (6, True)]
    assert report.lost == 1
    assert len(downloads) <= 4  # one batch may be on its way while another one is looked at


def test_chunks_between_what_is_lost_and_the_next_seed_are_not_fetched(world, downloads):
    here = world(40, hidden={(RED, 3)})
    here.place(here.shape(1), here.shape(35, row=20))
    here.run(options={"batch_size": 2, "window": 1})
    assert set(downloads) <= {0, 1, 2, 17, 18, 19}
    assert len(here.tracks()) == 2


def test_what_is_lost_at_once_makes_no_track_and_stays(world):
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


# --- keyframes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_shapes_of_a_group_are_keyframes_of_one_object(world, direction):
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


def test_a_group_with_several_on_a_frame_holds_objects_of_their_own(world):
    here = world()
    here.place(here.shape(3, group=4), here.shape(3, row=20, group=4), here.shape(6, row=30, group=4))
    here.run()
    assert sorted(track["shapes"][0]["frame"] for track in here.tracks()) == [3, 3, 6]
    assert {track["group"] for track in here.tracks()} == {4}


def test_groups_of_jobs_that_share_none_of_their_shapes_are_other_objects(world):
    """CVAT numbers groups anew in each job."""
    here = world(24, segment_size=8, overlap=2)
    here.place(here.shape(3, group=4), job=0)
    here.place(here.shape(20, row=20, group=4), job=3)
    assert here.run().tracks == {"car": 2}


def test_other_labels_of_the_group_are_other_objects(world):
    here = world()
    here.place(here.shape(3, group=4), here.shape(6, row=20, group=4, label="person"))
    assert here.run().tracks == {"car": 1, "person": 1}


def test_keyframes_behind_the_end_stay(world):
    here = world()
    here.place(here.shape(3, group=4), here.shape(10, group=4))
    here.run(until=7)
    [track] = here.tracks()
    assert visible(track, 12) == [3, 4, 5, 6, 7]
    assert [shape["frame"] for shape in here.shapes()] == [10]


def test_a_keyframe_within_the_tolerance_is_a_keyframe_nevertheless(world):
    here = world()
    here.place(here.shape(0, group=1), here.shape(5, group=1))
    here.run(tolerance=50)
    [track] = here.tracks()
    assert keyframes(track) == [(0, False), (5, False), (11, False)]


# --- which ---------------------------------------------------------------------------------------


def test_machine_output_is_not_followed_unless_asked_for(world):
    here = world()
    here.place(here.shape(3, source="auto"), here.shape(3, row=20, source="semi-auto"))
    assert here.run().tracks == {"car": 1}
    [track] = here.tracks()
    assert track["shapes"][0]["points"] == box(6, 20)
    here.run(sources=["auto"])
    assert sorted(track["source"] for track in here.tracks()) == ["auto", "semi-auto"]


def test_labels_narrow_the_run(world):
    here = world()
    here.place(here.shape(3), here.shape(3, row=20, label="person"))
    assert here.run(labels=["person"]).tracks == {"person": 1}
    assert [shape["points"] for shape in here.shapes()] == [box(6)]


def test_types_that_the_function_cannot_follow_are_counted_and_stay(world):
    here = world()
    here.place(here.shape(3), here.shape(3, row=20, type="ellipse"), here.shape(4, row=20, type="ellipse"))
    report = here.run()
    assert report.source_shapes_left_out == {"ellipse, which the function cannot track": 2}
    assert "not tracked: 2 ellipse, which the function cannot track" in report.lines()
    assert [shape["type"] for shape in here.shapes()] == ["ellipse"] * 2


def test_polygons_come_back_as_polygons(world):
    here = world()
    here.place(here.shape(3, type="polygon", points=[6.0, 10.0, 14.0, 10.0, 14.0, 18.0]))
    here.run()
    [track] = here.tracks()
    assert keyframes(track) == [(frame, False) for frame in range(3, 12)]
    assert track["shapes"][-1]["points"] == [22.0, 10.0, 30.0, 10.0, 30.0, 18.0]


def test_human_work_that_is_no_seed_is_untouched(world):
    here = world(segment_size=6)
    others = {
        "tags": [{"frame": 3, "label_id": here.labels["person"].id, "source": "manual"}],
        "tracks": [{"frame": 2, "label_id": here.labels["car"].id, "source": "manual",
                    "shapes": [{"type": "rectangle", "frame": 2, "points": box(9), "outside": False}]}],
    }  # fmt: skip
    here.place(here.shape(4, row=30, label="person"), here.shape(3, source="auto", x=1), **others)
    here.place(here.shape(8, row=30, label="person"), job=1)
    before = [list(here.client.iter_job_annotations(job.id)) for job in here.jobs]
    here.place(here.shape(3))
    here.run(labels=["car"])
    for job, old in zip(here.jobs, before, strict=True):
        now = list(here.client.iter_job_annotations(job.id))
        assert [item for item in now if item in old] == old
        assert [kind for kind, item in now if (kind, item) not in old] == ["tracks"]


def test_frames_and_jobs_narrow_the_run(world, downloads):
    here = world(segment_size=6)
    here.place(here.shape(1), here.shape(2, row=20))
    here.place(here.shape(7), job=1)
    report = here.run(options={"frames": range(0, 12, 2), "jobs": [here.jobs[0].id]})
    [track] = here.tracks()
    assert keyframes(track) == [(2, False), (4, False), (5, True)]
    assert here.tracks(1) == []
    assert [shape["frame"] for shape in (*here.shapes(), *here.shapes(1))] == [1, 7]
    assert downloads == [1, 2]
    assert report.frames == 2


def test_rotation_is_put_back(world):
    here = world()
    here.place(here.shape(3, rotation=30.0))
    here.run()
    [track] = here.tracks()
    assert {shape["rotation"] for shape in track["shapes"]} == {30.0}


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        ({"labels": ["boat"]}, r"task \d+ has no label 'boat'; it has 'car', 'person'"),
        ({"until": 99}, "has the frames 0-11; it has no frame 99"),
    ],
)
def test_what_cannot_be_followed_is_said_before_anything_is_fetched(world, downloads, follow, message):
    here = world()
    here.place(here.shape(3))
    with pytest.raises(ValueError, match=message):
        here.run(**follow)
    assert downloads == []
    assert len(here.shapes()) == 1


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        ({"labels": ["person"]}, "no shapes to track .* and label 'person'"),
        ({"sources": ["file"]}, "no shapes to track of source file"),
        ({"until": 2}, "no shapes to track .*; left out: 1 behind frame 2"),
    ],
)
def test_nothing_to_follow_is_said_and_nothing_is_fetched(world, downloads, follow, message):
    here = world()
    here.place(here.shape(3))
    report = here.run(**follow)
    assert re.search(message, report.nothing_to_do)
    assert downloads == []
    assert len(here.shapes()) == 1


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        ({"direction": "up"}, "direction must be 'forward', 'backward' or 'both', not 'up'"),
        ({"direction": "both", "until": 3}, "until needs one direction"),
        ({"sources": ["human"]}, "sources.0. must be .*, not 'human'"),
        ({"tolerance": -1}, "tolerance must be 0 or more, not -1"),
    ],
)
def test_options_out_of_range_are_refused(follow, message):
    with pytest.raises(ValueError, match=message):
        ShapeTrackingOptions(**follow)


@pytest.mark.parametrize(
    "options", [{"existing": Existing.CLEAR}, {"existing": Existing.REPLACE_AUTO}, {"on_frame_error": "skip"}]
)
def test_options_of_other_runs_are_refused(world, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        world(2).run(options=options)


def test_what_is_not_a_tracking_function_is_called_so(world):
    function = SimpleNamespace(spec=DetectionFunctionSpec(labels=[]), detect=print)
    with pytest.raises(BadFunctionError, match="not a tracking function"):
        world(2).run(function)


def test_a_task_with_a_pool_of_ground_truth_is_refused(sdk, client, tmp_path, downloads):
    paths = []
    for frame in range(8):
        paths.append(tmp_path / f"{frame}.png")
        paths[-1].write_bytes(png([(RED, (2 * frame, 10))]))
    task = sdk.tasks.create_from_data(
        {"name": "pool", "labels": [{"name": "car"}]},
        paths,
        data_params={
            "image_quality": 70,
            "sorting_method": "random",
            "validation_params": {
                "mode": "gt_pool", "frame_selection_method": "random_uniform",
                "frame_count": 2, "frames_per_job_count": 1,
            },
        },
    )  # fmt: skip
    downloads.clear()
    with pytest.raises(UnsupportedTaskError, match="pool of ground-truth frames"):
        World(client, task.id).run()
    assert downloads == []


def test_images_of_different_sizes_are_refused_and_nothing_is_written(client):
    task = client.create_task("sizes", [label_spec("car", None)])
    sizes = [(64, 48)] * 4 + [(80, 48)] * 2
    images = {f"{i}.png": png([(RED, (2 * i, 10))], size) for i, size in enumerate(sizes)}
    client.upload_images(task.id, images, chunk_size=2)
    here = World(client, task.id)
    here.place(here.shape(0))
    before = here.stored()
    with pytest.raises(UnsupportedTaskError, match=r"frame 4 \(4.png\) is 80x48 pixels"):
        here.run()
    assert here.stored() == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda: 1 / 0, "frame 5 .*track of rectangle .*ZeroDivisionError"),
        (lambda: TrackableShape(type="rectangle", points=[1, 2, 3]), "frame 5 .*rectangle with 3 numbers"),
        (lambda: TrackableShape(type="polygon", points=[1, 2, 3, 4, 5, 6]), "frame 5 .*expected 'rectangle'"),
    ],
)
def test_a_bad_function_leaves_the_task_as_it_was(world, output, message):
    class Bad(Blocks):
        def track(self, context, pixels, state):
            found = super().track(context, pixels, state)
            return output() if found.points == box(10) else found

    here = world()
    here.place(here.shape(3), here.shape(2, row=20))
    before = here.stored()
    with pytest.raises(BadFunctionError, match=message):
        here.run(Bad())
    assert here.stored() == before


# --- jobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_shape_that_two_jobs_hold_is_followed_once_and_removed_from_both(world, direction):
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


def test_a_shape_that_only_one_of_two_jobs_holds_is_a_track_in_both(world):
    here = world(12, segment_size=8, overlap=3)
    here.place(here.shape(6), job=1)
    here.run()
    assert [keyframes(here.tracks(index)[0])[0] for index in range(2)] == [(6, False), (6, False)]
    assert here.shapes(1) == []


def test_a_seed_on_the_last_frame_of_its_job(world):
    here = world(12, segment_size=6)
    here.place(here.shape(5))
    here.run()
    assert [keyframes(here.tracks(index)[0]) for index in range(2)] == [
        [(5, False)],
        [(6, False), (11, False)],
    ]


@pytest.mark.parametrize("number", range(8))
def test_any_mixture_of_jobs_keyframes_and_hidden_frames(world, number):
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

    report = here.run(direction=direction, options={"batch_size": rng.randint(1, 7)})

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


# --- exactly once --------------------------------------------------------------------------------


def complicated(world):
    """A task with all that may happen: overlaps, keyframes in several jobs, one that is lost at once."""
    here = world(24, segment_size=8, overlap=2, chunk_size=3, hidden={(RED, 15), (GREEN, 9), (GREEN, 8)})
    here.place(here.shape(2, group=1), here.shape(7, group=1), here.shape(7, row=20))
    here.place(here.shape(7, group=1), here.shape(7, row=20), here.shape(9, row=30, label="person"), job=1)
    here.place(here.shape(12, group=1), job=1)
    here.place(here.shape(14, source="auto"), here.shape(4, type="ellipse", row=40))
    return here


class Killed(BaseException):
    """As good as SIGKILL: nothing handles it."""


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_run_that_is_killed_anywhere_and_run_again_ends_as_one(world, monkeypatch, direction):
    monkeypatch.setattr(JobWriter, "most_annotations", 1)  # many requests, after each of which it may end
    undisturbed = complicated(world)
    undisturbed.run(direction=direction)
    original = Transport.json
    written = Counter()
    limit = None

    def json(self, method, path, **options):
        if method == "PATCH" and limit is not None and written["requests"] >= limit:
            raise Killed
        answer = original(self, method, path, **options)
        if method == "PATCH" and path.endswith("/annotations"):
            written["requests"] += 1
        return answer

    monkeypatch.setattr(Transport, "json", json)
    for kill_at in range(100):
        limit = None
        here = complicated(world)
        written.clear()
        limit = kill_at
        try:
            here.run(direction=direction)
            break
        except Killed:
            pass
        limit = None
        here.run(direction=direction)
        assert same(here, undisturbed), f"after {kill_at} writes"
    assert kill_at > 8
    assert same(here, undisturbed)


def same(one, other):
    """Whether the same stands in two tasks; ids and label ids differ."""

    def describe_error(world):
        names = {label.id: name for name, label in world.labels.items()}
        values = {a.id: a.name for label in world.labels.values() for a in label.attributes}

        def plain(item):
            if isinstance(item, dict):
                return {
                    key: names.get(value, value)
                    if key == "label_id"
                    else values[value]
                    if key == "spec_id"
                    else plain(value)
                    for key, value in item.items()
                    if key != "id"
                }
            return [plain(each) for each in item] if isinstance(item, list) else item

        return [
            sorted(repr((kind, plain(item))) for kind, item in world.client.iter_job_annotations(job.id))
            for job in world.jobs
        ]

    return describe_error(one) == describe_error(other)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 504, "when": "after"},
        {"kind": "reset", "when": "after"},
        {"kind": "reset", "when": "before"},
        {"kind": "late_commit", "answer": 504, "delay": 0.1},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_writes_that_fail_do_not_double_or_lose_anything(world, faults, fault):
    undisturbed = complicated(world)
    undisturbed.run(direction="both")
    here = complicated(world)
    faults.set([{"methods": ["PATCH"], "path": "/annotations$", "fault": fault, "times": 3}])
    here.run(direction="both")
    assert len(faults.log()) == 3
    faults.wait()
    assert same(here, undisturbed)


@pytest.fixture
def broken_off(world, monkeypatch):
    """A task whose run broke off when the tracks stood, and before the seeds were removed."""

    def fail(_):
        raise StorageError("broken")

    here = complicated(world)
    with monkeypatch.context() as broken:
        broken.setattr(PlannedTrackShapesRun, "_remove_source_shapes", fail)
        with pytest.raises(StorageError):
            here.run()
    return here


def test_a_run_that_broke_off_before_the_seeds_were_removed_only_removes_them(world, broken_off):
    undisturbed = complicated(world)
    undisturbed.run()
    report = broken_off.run()
    assert same(broken_off, undisturbed)
    assert report.source_shapes == 1  # the one that was lost at once
    assert report.source_shapes_left_out["in a track already"] == 4
    assert report.added == 0


@pytest.mark.parametrize("keep_source_shapes", [False, True])
def test_tracks_that_a_run_has_doubled_before_it_broke_off_are_made_single(
    world, broken_off, keep_source_shapes
):
    undisturbed = complicated(world)
    undisturbed.run(keep_source_shapes=keep_source_shapes)
    for index in range(3):
        tracks = [
            {name: value for name, value in track.items() if name != "id"}
            for track in broken_off.tracks(index)
        ]
        for shape in (shape for track in tracks for shape in track["shapes"]):
            shape.pop("id", None)
        broken_off.place(job=index, tracks=tracks)
    broken_off.run(keep_source_shapes=keep_source_shapes)
    assert same(broken_off, undisturbed)


def test_seeds_may_stay_and_running_again_adds_nothing(world, downloads):
    here = complicated(world)
    before = here.stored()
    report = here.run(keep_source_shapes=True)
    assert report.removed == 0
    assert here.shapes() == before.shapes
    here_before = [here.stored(index) for index in range(3)]
    downloads.clear()
    again = here.run(keep_source_shapes=True, labels=["person"])
    assert (again.added, again.frames, downloads) == (0, 0, [])
    assert [here.stored(index) for index in range(3)] == here_before


def test_a_seed_that_somebody_changed_in_the_meantime_stays(world):
    here = world()
    here.place(here.shape(3), here.shape(3, row=20))
    changed = here.shapes()[0]

    class Slow(Blocks):
        def init_tracking_state(self, context, pixels, shape):
            if shape.points == changed["points"]:
                body = {"shapes": [{**changed, "points": box(7)}]}
                here.client._transport.json(
                    "PATCH",
                    f"/api/jobs/{here.jobs[0].id}/annotations",
                    params={"action": "update"},
                    body=body,
                )
            return super().init_tracking_state(context, pixels, shape)

    here.run(Slow())
    assert [shape["points"] for shape in here.shapes()] == [box(7)]
    assert len(here.tracks()) == 2


class Twice:
    """Runs each stage that may be tried again a second time."""

    def submit(self, stage, run, *args):
        result = getattr(run, stage)(*args)
        if stage in ("plan_task", "upload_batch", "finish_upload"):
            result = getattr(run, stage)(*args)
        return SimpleNamespace(result=lambda: result)


def test_stages_may_be_tried_again(world):
    class Submitter(Twice):
        def submit(self, stage, run, *args):
            args = [arg.result() if isinstance(arg, SimpleNamespace) else arg for arg in args]
            return super().submit(stage, run, *args)

    undisturbed, here = complicated(world), complicated(world)
    report = undisturbed.run(direction="both")
    again = here.run(direction="both", submitter=Submitter())
    assert same(here, undisturbed)
    assert (again.frames, again.labels, again.added) == (report.frames, report.labels, report.added)


# --- other functions, other media ----------------------------------------------------------------


def test_a_function_written_with_the_sdk(world):
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
    here.run(Numbers(), direction=direction, options={"batch_size": 15})
    if chunk_size == 40:
        assert downloads == [0] * (2 if direction == "both" else 1), "once each way"
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


def test_persons_are_followed_in_a_real_video(client, sdk, test_data):
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


# --- memory --------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_was_found_backwards(tmp_path):
    """Five objects with so much jitter that all that is found becomes keyframes."""

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
        tracks = ShapeTracks(jobs, sources, last_frame=last, tolerance=0.5, folder=folder)
        for start in reversed(range(0, last, 50)):
            tracks.keep_backward(
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
    assert long < short + 500_000  # what was found on 1,400 frames more takes 2,000,000 in lists


def test_a_seed_stays_as_long_as_a_part_of_its_track_is_missing_in_another_job(world, faults):
    scene = world(segment_size=4)
    [seed] = scene.place(scene.shape(1)).shapes
    fault = {"kind": "store_part", "share": 0}
    rule = {"methods": ["PATCH"], "actions": ["create"], "fault": fault}
    faults.set([{**rule, "path": f"jobs/{scene.jobs[1].id}/annotations$"}])
    with pytest.raises(IncompleteRunError, match="1 not on the server"):
        scene.run()
    faults.clear()
    assert [shape["id"] for shape in scene.shapes()] == [seed["id"]]
    assert scene.tracks() == []  # a track there would say that all of it is there
    scene.run()
    assert scene.shapes() == []
    assert [len(scene.tracks(job)) for job in range(3)] == [1, 1, 1]


def test_tracks_that_two_runs_have_left_twice_are_made_single_also_if_nothing_is_left_to_follow(world):
    scene = world()
    scene.place(scene.shape(1))
    scene.run()
    [track] = scene.tracks()
    copy = {name: value for name, value in track.items() if name != "id"}
    copy["shapes"] = [
        {name: value for name, value in each.items() if name != "id"} for each in copy["shapes"]
    ]
    scene.place(tracks=[copy])
    report = scene.run()
    assert (report.removed, report.source_shapes) == (1, 0)
    assert scene.tracks() == [track]
