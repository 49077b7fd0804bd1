"""Tracks of source shapes are written exactly once, despite any failure."""

from collections import Counter
from types import SimpleNamespace

import pytest

from moving_blocks import GREEN, RED, Blocks, box
from prefect_cvat.exceptions import IncompleteRunError, StorageError
from prefect_cvat.http.transport import Transport
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter
from prefect_cvat.runs.track_shapes_run import PlannedTrackShapesRun
from prefect_cvat.upload.job_writer import JobWriter


def complicated(world):
    """A task with all cases: overlaps, keyframes in several jobs, a shape that is lost immediately."""
    here = world(24, segment_size=8, overlap=2, chunk_size=3, hidden={(RED, 15), (GREEN, 9), (GREEN, 8)})
    here.place(here.shape(2, group=1), here.shape(7, group=1), here.shape(7, row=20))
    here.place(here.shape(7, group=1), here.shape(7, row=20), here.shape(9, row=30, label="person"), job=1)
    here.place(here.shape(12, group=1), job=1)
    here.place(here.shape(14, source="auto"), here.shape(4, type="ellipse", row=40))
    return here


class Killed(BaseException):
    """As good as SIGKILL: nothing handles it."""


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_killed_run_is_completed_by_the_next(world, monkeypatch, direction):
    monkeypatch.setattr(JobWriter, "max_annotations", 1)  # many requests; the run may end after any of them
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
    """Whether two tasks have the same annotations; ids and label ids differ."""

    def contents(world):
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

    return contents(one) == contents(other)


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
def test_failed_writes_lose_and_duplicate_nothing(world, faults, fault):
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
    """A task with a run interrupted after the tracks were written, before the source shapes were removed."""

    def fail(_):
        raise StorageError("broken")

    here = complicated(world)
    with monkeypatch.context() as broken:
        broken.setattr(PlannedTrackShapesRun, "_remove_source_shapes", fail)
        with pytest.raises(StorageError):
            here.run()
    return here


def test_next_run_only_removes_source_shapes_that_were_left(world, broken_off):
    undisturbed = complicated(world)
    undisturbed.run()
    report = broken_off.run()
    assert same(broken_off, undisturbed)
    assert report.source_shapes == 1  # the one that was lost at once
    assert report.source_shapes_left_out["in a track already"] == 4
    assert report.added == 0


@pytest.mark.parametrize("keep_source_shapes", [False, True])
def test_next_run_removes_duplicate_tracks(world, broken_off, keep_source_shapes):
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


def test_keeps_source_shapes_on_request_and_adds_nothing_twice(world, downloads):
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


def test_keeps_source_shape_changed_during_the_run(world):
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


class Twice(ThreadSubmitter):
    """Runs each stage that may be tried again a second time."""

    def submit(self, stage, run, *args):
        if stage in ("plan_task", "upload_batch", "finish_upload"):
            method = getattr(run, stage)
            stage, run = "twice", SimpleNamespace(twice=lambda *args: [method(*args), method(*args)][1])
        return super().submit(stage, run, *args)


def test_stages_can_be_retried(world):
    undisturbed, here = complicated(world), complicated(world)
    report = undisturbed.run(direction="both")
    with Twice() as twice:
        again = here.run(direction="both", submitter=twice)
    assert same(here, undisturbed)
    assert (again.frames, again.labels, again.added) == (report.frames, report.labels, report.added)


def test_keeps_source_shape_while_part_of_its_track_is_missing(world, faults):
    scene = world(segment_size=4)
    [seed] = scene.place(scene.shape(1)).shapes
    fault = {"kind": "store_part", "share": 0}
    rule = {"methods": ["PATCH"], "actions": ["create"], "fault": fault}
    faults.set([{**rule, "path": f"jobs/{scene.jobs[1].id}/annotations$"}])
    with pytest.raises(IncompleteRunError, match="1 not on the server"):
        scene.run()
    faults.clear()
    assert [shape["id"] for shape in scene.shapes()] == [seed["id"]]
    assert scene.tracks() == []  # a track there would mean that it is complete
    scene.run()
    assert scene.shapes() == []
    assert [len(scene.tracks(job)) for job in range(3)] == [1, 1, 1]


def test_removes_duplicate_tracks_without_source_shapes(world):
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
