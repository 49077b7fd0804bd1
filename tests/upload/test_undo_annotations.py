"""Undo removes exactly the annotations that a run has added, even if it failed, and nothing else."""

import contextlib
from types import SimpleNamespace

import pytest

from prefect_cvat import Client, annotate_task, undo_run
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag
from prefect_cvat.exceptions import (
    IncompleteRunError,
    PrefectCvatError,
    RunInProgressError,
    RunNotFoundError,
    ServerError,
    StorageError,
)
from prefect_cvat.records.record_reader import read_run, recorded_runs
from prefect_cvat.records.run_lock import exclusive_run
from prefect_cvat.upload import job_writer as upload
from task_annotations import CREATES, WRITES
from unknown_outcomes import with_each_unknown_outcome

DELETES = {**WRITES, "actions": ["delete"]}

pytestmark = pytest.mark.usefixtures("quick_retries", "short_late_commits")


@pytest.fixture(autouse=True)
def runs_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


class Boxes:
    """Finds two cars and a tag on each frame, a little to the right for a higher offset."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0), label_spec("person", 1, type="tag")])

    def __init__(self, offset=0.0):
        self.offset = offset
        self.version = f"offset {offset}"

    def detect(self, context, image):
        x = self.offset + 2.0
        return [rectangle(0, [x, 2, x + 9, 20], score=0.8), rectangle(0, [x, 30, x + 20, 40]), tag(1)]


@pytest.fixture
def scene(client, make_task):
    """A task of six frames in two jobs."""
    labels = [label_spec("car", None), label_spec("person", None, type="tag")]
    task_id = make_task(6, labels=labels, segment_size=3)
    jobs = sorted(client.jobs(task_id), key=lambda job: job.start_frame)
    car = client.labels(task_id)[0].id

    def stored():
        return [item for job in jobs for item in client.iter_job_annotations(job.id)]

    def place(x=1.0, job=jobs[0], **fields):
        shape = {"type": "rectangle", "frame": job.start_frame, "label_id": car, "source": "manual",
                 "points": [x, 1.0, x + 5.0, 9.0], **fields}  # fmt: skip
        return client.create_job_annotations(job.id, {"shapes": [shape]}).shapes[0]

    def change(annotation, job=jobs[0], **fields):
        body = {"shapes": [{**annotation, **fields}], "tags": [], "tracks": []}
        client._patch_annotations(f"jobs/{job.id}", "update", body)

    return SimpleNamespace(id=task_id, jobs=jobs, stored=stored, place=place, change=change)


def counts(done):
    return done.removed, done.changed, done.gone


def test_removes_only_annotations_of_the_run(client, scene):
    scene.place()
    annotate_task(client, scene.id, Boxes(20), use_cache=False)
    before = scene.stored()
    run = annotate_task(client, scene.id, Boxes())
    assert len(scene.stored()) == len(before) + run.added
    done = undo_run(client, run.run)
    assert counts(done) == (run.added, 0, 0)
    assert scene.stored() == before


def test_second_undo_removes_nothing(client, scene):
    run = annotate_task(client, scene.id, Boxes())
    undo_run(client, run.run)
    assert counts(undo_run(client, run.run)) == (0, 0, run.added)


def test_dry_run_counts_and_removes_nothing(client, scene):
    run = annotate_task(client, scene.id, Boxes())
    before = scene.stored()
    done = undo_run(client, run.run, dry_run=True)
    assert counts(done) == (18, 0, 0)
    assert scene.stored() == before


@pytest.mark.parametrize(
    "change",
    [
        {"points": [3.0, 2.0, 30.0, 20.0]},
        {"source": "manual"},
        {"occluded": True},
        {
            "points": [2.0, 2.0, 11.0, 20.0],
            "source": "semi-auto",
        },  # as CVAT's pages do with a shape moved and back
    ],
    ids=["moved", "source", "occluded", "touched"],
)
def test_changed_annotations_are_kept(client, scene, change):
    run = annotate_task(client, scene.id, Boxes())
    shape = next(item for kind, item in scene.stored() if kind == "shapes")
    scene.change(shape, **change)
    assert counts(undo_run(client, run.run)) == (run.added - 1, 1, 0)
    [(_, left)] = scene.stored()
    assert {name: left[name] for name in change} == change


def test_counts_deleted_annotations_as_gone(client, scene):
    run = annotate_task(client, scene.id, Boxes())
    shape = next(item for kind, item in scene.stored() if kind == "shapes")
    client.delete_job_annotations(scene.jobs[0].id, {"shapes": [shape], "tags": [], "tracks": []})
    assert counts(undo_run(client, run.run)) == (run.added - 1, 0, 1)


def test_keeps_annotations_present_before_the_run(client, scene):
    first = annotate_task(client, scene.id, Boxes(), jobs=[scene.jobs[0].id])
    second = annotate_task(client, scene.id, Boxes())
    assert (first.added, second.added, second.already_there) == (9, 9, 9)
    assert undo_run(client, second.run).removed == 9
    assert undo_run(client, first.run).removed == 9
    assert scene.stored() == []


def test_report_states_that_replaced_annotations_are_not_restored(client, scene):
    scene.place(30.0)
    run = annotate_task(client, scene.id, Boxes(), existing="clear")
    assert run.removed == 1
    done = undo_run(client, run.run)
    assert (done.removed, done.not_brought_back) == (18, 1)
    assert any("not restored: 1 annotation" in line for line in done.lines())
    assert scene.stored() == []


def test_finds_run_by_id_prefix_and_by_report(client, scene, tmp_path):
    run = annotate_task(client, scene.id, Boxes())
    assert undo_run(client, run.run[:8], dry_run=True).run == run.run
    file = tmp_path / "report.json"
    file.write_text(run.model_dump_json())
    assert undo_run(client, file).removed == 18


@pytest.mark.parametrize("run", ["0123456", "nonsense-nonsense", "../../../etc"])
def test_refuses_unknown_run(client, scene, run):
    annotate_task(client, scene.id, Boxes())
    with pytest.raises((RunNotFoundError, ValueError)):
        undo_run(client, run)
    assert len(scene.stored()) == 18


def test_refuses_run_on_other_server(client, scene, runs_dir):
    run = annotate_task(client, scene.id, Boxes())
    [file] = runs_dir.glob("*/*.jsonl")
    file.write_text(file.read_text().replace(client.url, "https://cvat.example.com"))
    with pytest.raises(ValueError, match=r"was on https://cvat\.example\.com, not on http"):
        undo_run(client, run.run)


def test_refuses_run_in_progress(client, scene):
    run = annotate_task(client, scene.id, Boxes())
    with exclusive_run(client.url, scene.id), pytest.raises(RunInProgressError):
        undo_run(client, run.run)
    assert len(scene.stored()) == 18


def test_run_without_annotations_has_no_record(client, scene, runs_dir):
    annotate_task(client, scene.id, Boxes())
    annotate_task(client, scene.id, Boxes())
    assert len(recorded_runs()) == len(list(runs_dir.iterdir())) == 1


# --- when things go wrong ---


@with_each_unknown_outcome
@pytest.mark.parametrize("requests", [CREATES, DELETES], ids=["of the run", "of undoing it"])
def test_removes_annotations_of_request_with_unknown_outcome(client, scene, faults, fault, requests):
    scene.place()
    before = scene.stored()
    faults.set([{**requests, "fault": fault, "times": 3}])
    run = annotate_task(client, scene.id, Boxes())
    done = undo_run(client, run.run)
    assert faults.log()
    faults.wait()
    assert counts(done) == (18, 0, 0)
    assert scene.stored() == before


def test_retry_completes_failed_undo(client, scene, faults, monkeypatch):
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    run = annotate_task(client, scene.id, Boxes())
    faults.set([{**DELETES, "fault": {"kind": "status", "status": 504, "when": "after"}, "times": 1}])
    with pytest.raises(ServerError):
        undo_run(client, run.run)
    assert counts(undo_run(client, run.run)) == (9, 0, 9)
    assert scene.stored() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_undoes_failed_run_with_or_without_last_request(client, scene, faults, monkeypatch, when):
    scene.place()
    annotate_task(client, scene.id, Boxes(20))
    before = scene.stored()
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    faults.set(
        [{**CREATES, "after": 1, "fault": {"kind": "status", "status": 504, "when": when}, "times": 1}]
    )
    with contextlib.suppress(PrefectCvatError):  # it succeeds if the last request has arrived
        annotate_task(client, scene.id, Boxes())
    assert len(scene.stored()) > len(before)
    undo_run(client, recorded_runs()[0].run)
    assert scene.stored() == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_keeps_annotations_of_run_that_completed_a_failed_one(client, scene, faults, monkeypatch, when):
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    faults.set([{**CREATES, "fault": {"kind": "status", "status": 504, "when": when}, "times": 1}])
    with contextlib.suppress(PrefectCvatError):
        annotate_task(client, scene.id, Boxes())
    failed = recorded_runs()[0].run
    completed = annotate_task(client, scene.id, Boxes())
    added = 18 - completed.already_there
    assert undo_run(client, failed).removed == 18 - added
    assert len(scene.stored()) == completed.added == added
    if added:
        assert undo_run(client, completed.run).removed == added


def copy_of(shape):
    return {name: shape[name] for name in ("type", "frame", "label_id", "source", "points", "score")}


def test_keeps_equal_annotation_older_than_lost_request(client, scene, faults, monkeypatch):
    class Twice(Boxes):
        def detect(self, context, image):
            return super().detect(context, image)[:1] * 2

    run = annotate_task(client, scene.id, Boxes())
    before = [copy_of(item) for kind, item in scene.stored() if kind == "shapes" and item["frame"] == 0]
    undo_run(client, run.run)
    client.create_job_annotations(scene.jobs[0].id, {"shapes": before})  # by some other program
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    faults.set([{**CREATES, "fault": {"kind": "status", "status": 500}, "times": 1}])
    with pytest.raises(ServerError):
        annotate_task(client, scene.id, Twice(), frames=[0])
    assert undo_run(client, recorded_runs()[0].run).removed == 0
    assert len(scene.stored()) == 2


def test_keeps_equal_annotation_added_after_successful_run(client, scene, faults):
    faults.set([{**CREATES, "fault": {"kind": "status", "status": 504}, "times": 1}])
    run = annotate_task(client, scene.id, Boxes())
    shape = next(item for kind, item in scene.stored() if kind == "shapes")
    client.create_job_annotations(scene.jobs[0].id, {"shapes": [copy_of(shape)]})
    assert undo_run(client, run.run).removed == 18
    [(_, left)] = scene.stored()
    assert left["id"] > shape["id"]


def test_removes_annotations_of_late_request(client, scene, faults, monkeypatch):
    """The first request is committed after the job was read back, and before the second one."""
    sent = []
    create = Client.create_job_annotations

    def create_twice(self, job_id, body):
        if len(sent) == 1:
            create(self, job_id, sent[0])
        sent.append(body)
        return create(self, job_id, body)

    monkeypatch.setattr(Client, "create_job_annotations", create_twice)
    faults.set([{**CREATES, "fault": {"kind": "status", "status": 504}, "times": 1}])
    with pytest.raises(IncompleteRunError, match="3 duplicated") as raised:
        annotate_task(client, scene.id, Boxes(), frames=[0])
    assert (len(scene.stored()), raised.value.report.added) == (6, 3)
    assert undo_run(client, raised.value.report.run).removed == 6
    assert scene.stored() == []


@pytest.mark.usefixtures("sent_at_once")
def test_nothing_to_undo_after_bad_function_error(client, scene, runs_dir):
    class Breaks(Boxes):
        def detect(self, context, image):
            if context.frame_name == "0005.png":
                raise RuntimeError("no")
            return super().detect(context, image)

    with pytest.raises(PrefectCvatError):
        annotate_task(client, scene.id, Breaks(), frames_per_batch=1)
    [header] = recorded_runs()
    assert counts(undo_run(client, header.run)) == (0, 0, 0)


def test_reads_record_truncated_anywhere(client, scene, runs_dir):
    """Undo finds all annotations wherever the record is truncated after the last request."""
    run = annotate_task(client, scene.id, Boxes(), frames_per_batch=2)
    [file] = runs_dir.glob("*/*.jsonl")
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    sent = [index for index, line in enumerate(lines) if b'"sent"' in line]
    last = sent[-1]
    for end in range(sum(map(len, lines[: last + 1])), len(whole), 7):
        file.write_bytes(whole[:end])
        assert undo_run(client, run.run, dry_run=True).removed == 18
    file.write_bytes(whole[: len(lines[0]) // 2])
    with pytest.raises(RunNotFoundError):
        read_run(run.run)


def test_writes_nothing_if_record_cannot_be_written(client, scene, runs_dir):
    runs_dir.write_text("no folder")
    with pytest.raises(StorageError, match="PREFECT_CVAT_RUNS_DIR"):
        annotate_task(client, scene.id, Boxes())
    assert scene.stored() == []
