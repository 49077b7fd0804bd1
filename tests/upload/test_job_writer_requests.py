"""JobWriter on its own, against the sandbox: one fault at a time."""

import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from prefect_cvat import Client, annotate_task
from prefect_cvat.annotations.content_digest import attribute_defaults
from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    keypoint_spec,
    label_spec,
    rectangle,
    skeleton_label_spec,
)
from prefect_cvat.exceptions import BadRequestError, ServerError, TransportError, UploadError
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.records.run_lock import exclusive_run
from prefect_cvat.upload import job_writer as upload
from prefect_cvat.upload.job_writer import JobWriter

WRITES = {"methods": ["PATCH"], "path": "/annotations$"}
LATE = {"kind": "late_commit", "answer": 504, "delay": 0.25}


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.5")


class ShapeWriter(JobWriter):
    """A writer of annotations that are not serialized yet."""

    def write(self, part, annotations, frames=()):
        super().write(part, map(serialize, annotations), frames)


@pytest.fixture
def scene(client, make_task, tmp_path_factory):
    """A job of four frames, its label `car`, and what makes writers for it."""
    task_id = make_task(4)
    [job] = client.jobs(task_id)
    car = client.labels(task_id)[0].id

    def rect(x, frame=0, **fields):
        return {"type": "rectangle", "frame": frame, "label_id": car, "source": "auto",
                "points": [x, 1.0, x + 5.0, 9.0], "score": 0.5, **fields}  # fmt: skip

    def writer(by=client, existing="keep"):
        return ShapeWriter(by, job, tmp_path_factory.mktemp("writer"), existing=Existing(existing))

    def place(*shapes, **others):
        return client.create_job_annotations(job.id, {"shapes": shapes, **others})

    def stored():
        return client.job_annotations(job.id)

    def xs():
        return sorted(shape["points"][0] for shape in stored().shapes)

    return SimpleNamespace(
        task_id=task_id, job=job, car=car, rect=rect, writer=writer, place=place, stored=stored, xs=xs
    )


def run(writer, shapes, frames=range(4)):
    writer.write(0, shapes, frames)
    writer.verify()
    writer.finish()


# --- faults ---


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 504, "when": "after"},
        {"kind": "status", "status": 500, "when": "after"},
        {"kind": "status", "status": 502, "when": "before"},
        {"kind": "reset", "when": "after"},
        {"kind": "reset", "when": "before"},
        {"kind": "truncate"},
        {"kind": "corrupt"},
        {"kind": "throttle", "retry_after": 0},
        {"kind": "expire_token"},
        LATE,
        {**LATE, "answer": "reset"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
@pytest.mark.parametrize("times", [1, 3])
def test_stores_each_annotation_once_after_failed_write(scene, faults, fault, times):
    if fault["kind"] == "expire_token":
        times = 1  # a client logs in once more, not for ever
    faults.set([{**WRITES, "fault": fault, "times": times}])
    writer = scene.writer()
    run(writer, [scene.rect(x) for x in (1, 2, 3, 3)])
    assert 1 <= len(faults.log()) <= times
    faults.wait()
    assert scene.xs() == [1, 2, 3, 3]
    assert writer.added == 4


def test_waits_for_late_commit_before_resending(scene, faults):
    faults.set([{**WRITES, "fault": {**LATE, "delay": 0.4}, "times": 1}])
    writer = scene.writer()
    writer.write(0, [scene.rect(1)], [0])
    faults.wait()
    assert [entry.fault for entry in faults.log()] == ["late_commit"]
    assert scene.xs() == [1]


def test_reports_duplicates_of_too_late_commit_and_next_run_removes_them(scene, faults, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.05")
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "0.05")
    faults.set([{**WRITES, "fault": LATE, "times": 1}])
    writer = scene.writer()
    writer.write(0, [scene.rect(1)], [0])
    faults.wait()
    assert scene.xs() == [1, 1]
    writer.finish()  # it may be another run's
    assert scene.xs() == [1, 1]
    assert (writer.added, writer.doubled_by_others) == (1, 1)
    run(scene.writer(), [scene.rect(1)])
    assert scene.xs() == [1]


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 504, "when": "after"}, {"kind": "reset", "when": "before"}, LATE]
)
def test_retries_removal_of_unknown_outcome(scene, faults, fault):
    scene.place(scene.rect(7), scene.rect(8, source="manual"))
    faults.set([{**WRITES, "actions": ["delete"], "fault": fault, "times": 2}])
    writer = scene.writer(existing="replace_auto")
    run(writer, [scene.rect(1)])
    faults.wait()
    assert scene.xs() == [1, 8]
    assert writer.removal.removed == 1


def test_writes_failed_part_again_after_another_part(scene, faults, monkeypatch):
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    faults.set([{**WRITES, "fault": {"kind": "status", "status": 504, "when": "before"}, "times": 1}])
    writer = scene.writer()
    with pytest.raises(ServerError):
        writer.write("a", [scene.rect(1)], [0])
    writer.write("b", [scene.rect(2)], [0])
    writer.write("a", [scene.rect(1)], [0])
    assert scene.xs() == [1, 2]
    assert writer.added == 2


def test_does_not_write_complete_part_again_after_verification(scene):
    writer = scene.writer()
    writer.write(0, [scene.rect(1)], [0])
    writer.verify()
    writer.write(0, [scene.rect(1)], [0])
    assert scene.xs() == [1]


def test_finish_completes_failed_verification(scene, monkeypatch):
    def fails(self, job_id):
        raise ServerError("500", status=500, method="GET", path="/")

    scene.place(scene.rect(7))
    writer = scene.writer(existing="replace_auto")
    writer.write(0, [scene.rect(1)], range(4))
    with monkeypatch.context() as patched:
        patched.setattr(Client, "iter_job_annotations", fails)
        with pytest.raises(ServerError):
            writer.verify()
    writer.finish()
    assert scene.xs() == [1]


# --- the run before this one ---


def test_writes_equal_annotations_as_often_as_given(scene):
    scene.place(scene.rect(1), scene.rect(1, source="manual"))
    writer = scene.writer()
    run(writer, [scene.rect(1), scene.rect(1), scene.rect(1)])
    assert Counter(shape["source"] for shape in scene.stored().shapes) == {"auto": 3, "manual": 1}
    assert (writer.already_there, writer.added) == (1, 2)


@pytest.mark.parametrize("existing", list(Existing))
def test_removes_duplicates_of_killed_run(scene, existing):
    scene.place(scene.rect(1), scene.rect(2))
    first = scene.stored().shapes
    scene.place(scene.rect(1), scene.rect(2))
    run(scene.writer(existing=existing), [scene.rect(1), scene.rect(2)])
    assert scene.stored().shapes == first


def test_keeps_and_reports_equal_annotations_of_others(scene):
    tag = {"frame": 2, "label_id": scene.car, "source": "auto"}
    scene.place(scene.rect(1), scene.rect(1, source="manual"), scene.rect(4), tags=[tag])
    writer = scene.writer()
    writer.write(0, [scene.rect(1), scene.rect(1), scene.rect(2), tag, tag], range(4))
    scene.place(scene.rect(1), scene.rect(1), scene.rect(2), tags=[tag])
    there = scene.stored()
    writer.finish()
    assert scene.stored() == there
    assert (writer.added, writer.already_there, writer.doubled_by_others) == (3, 2, 4)
    run(scene.writer(), [scene.rect(1), scene.rect(1), scene.rect(2), tag, tag])  # the next run settles it
    assert sorted(shape["points"][0] for shape in scene.stored().shapes) == [1, 1, 1, 2, 4]
    assert len(scene.stored().tags) == 2


def test_removes_duplicates_at_end_unless_corrected(client, scene):
    scene.place(*[scene.rect(1)] * 4)
    writer = scene.writer()
    writer.write(0, [scene.rect(1)], [0])
    writer.verify()
    [first, _, _, last] = scene.stored().shapes
    correction = {"shapes": [{**last, "source": "manual"}]}
    path = f"/api/jobs/{scene.job.id}/annotations"
    client._transport.json("PATCH", path, params={"action": "update"}, body=correction)
    writer.finish()
    left = scene.stored().shapes
    assert left[0] == first
    assert [shape["source"] for shape in left] == ["auto", "manual"]


def test_waits_for_write_of_killed_run_before_start(client, scene, monkeypatch):
    with exclusive_run(client.url, scene.task_id) as lock:
        lock.sending(scene.job.id)  # and is killed before the answer
    with exclusive_run(client.url, scene.task_id) as lock:
        late = threading.Timer(0.2, scene.place, [scene.rect(1)])
        late.start()
        lock.wait_for_earlier_write(0.5)
        run(scene.writer(), [scene.rect(1)])
        assert scene.xs() == [1]
        late.join()
    with exclusive_run(client.url, scene.task_id) as lock:
        assert lock.earlier_write is None


# --- what others did ---


def correct(client, scene, x, **changes):
    [shape] = [shape for shape in scene.stored().shapes if shape["points"][0] == x]
    client._transport.json(
        "PATCH",
        f"/api/jobs/{scene.job.id}/annotations",
        params={"action": "update"},
        body={"shapes": [{**shape, "source": "semi-auto", **changes}]},
    )


@pytest.mark.parametrize("how", ["finish", "undo"])
def test_keeps_annotation_corrected_during_run(client, scene, how):
    writer = scene.writer()
    writer.write(0, [scene.rect(1), scene.rect(2)], [0])
    correct(client, scene, 2, points=[30, 1, 40, 9])
    if how == "finish":
        writer.verify()
        writer.finish()
    else:
        writer.undo()
    assert scene.xs() == ([1, 30] if how == "finish" else [30])


def test_keeps_annotation_corrected_between_last_two_readings(client, scene):
    scene.place(scene.rect(7), scene.rect(8))
    writer = scene.writer(existing="replace_auto")
    writer.write(0, [scene.rect(1)], range(4))
    writer.verify()
    correct(client, scene, 7)
    writer.finish()
    assert scene.xs() == [1, 7]


@pytest.mark.parametrize("existing", ["clear", "replace_auto"])
def test_keeps_annotations_on_frames_that_were_not_written(scene, existing):
    def track(*frames):
        shapes = [{"type": "rectangle", "frame": f, "points": [1, 2, 3, 4], "outside": False} for f in frames]
        if frames[-1] < 3:  # seen no further
            shapes[-1]["outside"] = True
        return {"frame": frames[0], "label_id": scene.car, "source": "auto", "shapes": shapes}

    tags = [{"frame": frame, "label_id": scene.car, "source": "auto"} for frame in (1, 3)]
    scene.place(scene.rect(7, 1), scene.rect(8, 3), tags=tags, tracks=[track(0, 1), track(1, 3)])
    run(scene.writer(existing=existing), [scene.rect(1, 0)], frames=[0, 1])
    assert scene.xs() == [1, 8]
    assert [tag["frame"] for tag in scene.stored().tags] == [3]
    assert [track["frame"] for track in scene.stored().tracks] == [1]


def test_keeps_annotations_on_failed_frames(client, scene):
    scene.place(scene.rect(7, 0), scene.rect(8, 3))

    def detect(context, image):
        if context.frame_name == "0003.png":
            raise ZeroDivisionError
        return [rectangle(1, [1, 1, 6, 9])]

    function = SimpleNamespace(spec=DetectionFunctionSpec(labels=[label_spec("car", 1)]), detect=detect)
    annotate_task(client, scene.task_id, function, existing="clear", on_frame_error="skip")
    assert scene.xs() == [1, 1, 1, 8]


# --- undo ---


def test_undo_removes_only_annotations_of_the_run(scene):
    scene.place(scene.rect(1), scene.rect(5), scene.rect(2, source="manual"))
    before = scene.stored()
    writer = scene.writer(existing="clear")
    writer.write(0, [scene.rect(1), scene.rect(2), scene.rect(3)], [0])
    writer.undo()
    assert scene.stored() == before


@pytest.mark.parametrize("is_verified", [False, True])
def test_undo_keeps_annotations_of_others(scene, is_verified):
    tag = {"frame": 0, "label_id": scene.car, "source": "auto"}
    writer = scene.writer()
    for part in range(3):
        writer.write(part, [*(scene.rect(10 * part + i) for i in range(4)), tag], [0])
        scene.place(scene.rect(50 + part), scene.rect(10 * part), tags=[{**tag, "frame": 1 + part}, tag])
    if is_verified:
        writer.verify()
    writer.undo()
    assert scene.xs() == [0, 10, 20, 50, 51, 52]
    assert sorted(tag["frame"] for tag in scene.stored().tags) == [0, 0, 0, 1, 2, 3]


def test_undo_keeps_annotation_corrected_after_verification(client, scene):
    writer = scene.writer()
    writer.write(0, [scene.rect(1), scene.rect(2)], [0])
    writer.verify()
    correct(
        client, scene, 2, points=[30, 1, 40, 9], source="auto"
    )  # not every client sets a source when it corrects
    writer.undo()
    assert scene.xs() == [30]


def test_undo_distinguishes_equal_ids_of_tags_and_shapes(scene):
    """CVAT numbers each kind separately, so a shape and a tag may have the same id."""
    writer = scene.writer()
    writer.write(0, [scene.rect(x) for x in range(3)], [0])
    writer.verify()
    scene.place(tags=[{"frame": 1, "label_id": scene.car, "source": "auto"}])
    [tag] = scene.stored().tags
    writer._ledger.note_added([("shapes", tag["id"], b"nothing like")])
    writer.undo()
    assert scene.xs() == []
    assert scene.stored().tags == [tag]


@pytest.mark.parametrize("late_commit_seconds", [0.05, 0.5], ids=["given up", "waited for"])
def test_undo_removes_annotations_of_late_commit(scene, faults, monkeypatch, late_commit_seconds):
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", str(late_commit_seconds))
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "0.05")
    faults.set([{**WRITES, "fault": LATE, "times": 1}])
    writer = scene.writer()
    writer.write(0, [scene.rect(1)], [0])
    faults.wait()
    assert len(scene.xs()) == (2 if late_commit_seconds < 0.1 else 1)
    writer.undo()
    assert scene.xs() == []


def test_undo_keeps_equal_annotation_older_than_write_of_unknown_outcome(scene, faults, monkeypatch):
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    writer = scene.writer()
    writer.read_baseline()
    writer.write(0, [scene.rect(1)], [0])
    scene.place(scene.rect(2))  # another run's, from before the write
    writer.write(1, [scene.rect(3)], [0])
    faults.set([{**WRITES, "fault": {"kind": "reset", "when": "before"}, "times": 1}])
    with pytest.raises(TransportError):
        writer.write(2, [scene.rect(2)], [0])
    writer.undo()
    assert scene.xs() == [2]


# --- servers and proxies ---


class BehindProxy(Client):
    """Refuses bodies above a limit; counts what passes."""

    limit = 1500
    refusal = {"status": 413}
    passed: list

    def _patch_annotations(self, owner, action, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if len(data) > self.limit:
            raise BadRequestError("too large", method="PATCH", path="", **self.refusal)
        self.passed.append(action)
        return super()._patch_annotations(owner, action, body)


@pytest.mark.parametrize("refusal", [{"status": 413}, {"status": 400, "is_html": True}])
def test_halves_requests_that_proxy_refuses(sandbox, scene, monkeypatch, refusal):
    monkeypatch.setattr(BehindProxy, "refusal", refusal)
    scene.place(*(scene.rect(x) for x in range(20, 30)))
    with BehindProxy(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        client.passed = []
        run(scene.writer(client, "replace_auto"), [scene.rect(x) for x in range(30, 46)])
        assert client.passed.count("create") == 2
        assert 2 <= client.passed.count("delete") <= 5  # it depends on the digits of the ids
    assert scene.xs() == list(range(30, 46))


def test_raises_if_proxy_refuses_single_annotation(sandbox, scene, monkeypatch):
    monkeypatch.setattr(BehindProxy, "limit", 10)
    with BehindProxy(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        with pytest.raises(BadRequestError, match="too large"):
            scene.writer(client).write(0, [scene.rect(1), scene.rect(2)], [0])


class Dropping(Client):
    """A server that stores less than it is sent."""

    def create_job_annotations(self, job_id, body):
        body = json.loads(body)
        return super().create_job_annotations(job_id, {"shapes": body["shapes"][:-1]})


@pytest.mark.parametrize("is_ambiguous", [False, True])
def test_raises_and_removes_all_if_server_stores_less(sandbox, scene, faults, is_ambiguous):
    if is_ambiguous:
        fault = {"kind": "reset", "when": "after"}
        faults.set([{**WRITES, "actions": ["delete"], "fault": fault, "times": 2}])
    with Dropping(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        writer = scene.writer(client)
        with pytest.raises(UploadError, match=r"3 annotations were sent, .* 2 stored, 2 of them unchanged"):
            writer.write(0, [scene.rect(x) for x in (1, 2, 3)], [0])
    assert scene.xs() == []


def test_divides_large_part_into_requests(scene, faults, monkeypatch):
    faults.set([{**WRITES, "fault": {"kind": "latency", "seconds": 0}}])
    monkeypatch.setattr(JobWriter, "max_annotations", 4)
    run(scene.writer(), [scene.rect(x) for x in range(10)])
    assert len(faults.log()) == 3
    monkeypatch.setattr(JobWriter, "max_bytes", 600)
    polygons = [scene.rect(0, type="polygon", points=[float(x), 1, 2, 3] * 25) for x in range(20, 25)]
    run(scene.writer(), polygons)
    assert len(faults.log()) == 3 + 5
    assert scene.xs() == [*range(10), *range(20, 25)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_recognizes_skeletons_and_tags_of_lost_write(client, make_task, faults, tmp_path_factory, when):
    task_id = make_task(
        2,
        labels=[
            label_spec("scene", None, type="tag"),
            skeleton_label_spec("body", None, [keypoint_spec("a", None), keypoint_spec("b", None)], svg=""),
        ],
    )
    [job] = client.jobs(task_id)
    tag_label, body = client.labels(task_id)
    elements = [
        {"type": "points", "frame": 1, "label_id": sublabel.id, "points": [3, 4 + i], "source": "auto"}
        for i, sublabel in enumerate(body.sublabels)
    ]
    annotations = [
        {"frame": 1, "label_id": tag_label.id, "source": "auto", "attributes": []},
        {"frame": 1, "label_id": tag_label.id, "source": "auto", "attributes": []},
        {"type": "skeleton", "frame": 1, "label_id": body.id, "source": "auto", "elements": elements},
    ]
    faults.set([{**WRITES, "fault": {"kind": "reset", "when": when}, "times": 1}])
    for added in (3, 0):
        folder = tmp_path_factory.mktemp("writer")
        writer = ShapeWriter(client, job, folder, defaults=attribute_defaults((tag_label, body)))
        run(writer, annotations)
        assert writer.added == added
        stored = client.job_annotations(job.id)
        assert (len(stored.tags), len(stored.shapes)) == (2, 1)
    writer = ShapeWriter(client, job, tmp_path_factory.mktemp("writer"), existing=Existing.CLEAR)
    run(writer, [])
    assert client.job_annotations(job.id) == type(stored)()
