"""Undo of JobWriter removes what the run has added, and nothing else."""

import pytest

from prefect_cvat.exceptions import TransportError
from prefect_cvat.upload import job_writer as upload
from prefect_cvat.upload.sending.job_requests import JobRequests
from task_annotations import WRITES
from upload.job_writing import LATE

pytestmark = pytest.mark.usefixtures("quick_retries", "short_late_commits")


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
    # not every client sets a source when it corrects
    scene.correct(2, points=[30, 1, 40, 9], source="auto")
    writer.undo()
    assert scene.xs() == [30]


def test_undo_reads_again_after_a_reading_from_before_the_write(scene, monkeypatch):
    """The job seems to change while it is read, and the second reading is older than the first."""
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "2")
    read, updated_date = JobRequests._read_without, JobRequests.updated_date
    readings, dates = [], iter(["2026-01-01", "2026-01-02"])

    def read_without(self, *args):
        readings.append(self)
        return iter(()) if len(readings) == 2 else read(self, *args)

    writer = scene.writer()
    writer.write(0, [scene.rect(1), scene.rect(2)], [0])
    monkeypatch.setattr(JobRequests, "_read_without", read_without)
    monkeypatch.setattr(JobRequests, "updated_date", lambda self: next(dates, None) or updated_date(self))
    writer.undo()
    assert scene.xs() == []


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
