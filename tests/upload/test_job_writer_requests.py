"""Requests of JobWriter: failed, refused, too large, or stored in part; one fault at a time."""

import json

import pytest

from prefect_cvat import Client
from prefect_cvat.annotations.content_digest import attribute_defaults
from prefect_cvat.auto_annotation import keypoint_spec, label_spec, skeleton_label_spec
from prefect_cvat.exceptions import BadRequestError, ServerError, UploadError
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.upload import job_writer as upload
from prefect_cvat.upload.job_writer import JobWriter
from task_annotations import WRITES
from upload.job_writing import LATE, ShapeWriter, run

pytestmark = pytest.mark.usefixtures("quick_retries", "short_late_commits")


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
