"""Disks that are full once while a run is recorded: nothing is written twice or lost."""

import errno
from pathlib import Path

import pytest

from prefect_cvat import annotate_task
from prefect_cvat.exceptions import StorageError
from prefect_cvat.upload import annotation_files
from task_annotations import boxes, draw, per_frame
from upload.retried_runs import retried

pytestmark = pytest.mark.usefixtures("quick_retries")


def _fails_once(monkeypatch, target, name, when=lambda *_: True, partly=None):
    method = getattr(target, name)
    failed = []

    def fail(*args, **kw):
        if not failed and when(*args):
            failed.append(1)
            if partly is not None:
                partly(*args)
            raise StorageError("no space left")
        return method(*args, **kw)

    monkeypatch.setattr(target, name, fail)
    return failed


@pytest.mark.parametrize("name", ["bodies"])
def test_disk_full_once_while_existing_annotations_are_recorded(client, make_task, monkeypatch, name):
    task_id = make_task(2)
    annotate_task(client, task_id, boxes(), use_cache=False)
    failed = _fails_once(
        monkeypatch,
        annotation_files,
        "_append",
        when=lambda file, data: data and file.path.name.endswith(name),
    )
    retried(client, task_id, boxes())
    assert failed
    assert per_frame(client, task_id) == dict.fromkeys(range(2), 5)


@pytest.mark.parametrize("where", ["record", "log"])
def test_disk_full_once_when_the_response_is_recorded(client, make_task, monkeypatch, where):
    from prefect_cvat.records.record_writer import JobRecord

    task_id = make_task(2)
    if where == "record":
        failed = _fails_once(monkeypatch, JobRecord, "added")
    else:
        failed = _fails_once(
            monkeypatch,
            annotation_files,
            "_append",
            when=lambda file, data: data and file.path.name.endswith("-added"),
        )
    retried(client, task_id, boxes())
    assert failed
    assert per_frame(client, task_id) == dict.fromkeys(range(2), 5)


def test_disk_full_after_half_of_a_record(client, make_task, monkeypatch):
    monkeypatch.setattr("prefect_cvat.files.spooled_file.MAX_MEMORY", 0)
    task_id = make_task(2)
    for frame in range(2):
        draw(client, task_id, frame)

    failed = []

    class Full:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            with original(self.path, "ab") as file:
                file.write(data[: len(data) // 2 + 5])
            raise OSError(errno.ENOSPC, "no space left")

    original = Path.open

    def full_once(self, mode="r", *args, **options):
        if mode == "ab" and self.name.endswith("-kept") and not failed:
            failed.append(self)
            return Full(self)
        return original(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full_once)
    retried(client, task_id, boxes())
    assert failed
    assert per_frame(client, task_id) == dict.fromkeys(range(2), 6)
