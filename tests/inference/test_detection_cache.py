"""Repeated and interrupted runs read cached detections."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import RunInProgressError
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.records.run_lock import exclusive_run
from served_chunks import with_chunks


class Counting:
    """A function that counts its images."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def __init__(self, version="1"):
        self.version = version
        self.seen = []

    def detect(self, context, image):
        self.seen.append(context.frame_name)
        return [rectangle(1, [0, 0, 5 + int(context.frame_name[:4]), 9], score=0.5)]


@pytest.fixture
def downloads(monkeypatch):
    chunks = []
    with_chunks(monkeypatch, lambda params, data: chunks.append(params["number"]))
    return chunks


def points(client, task_id):
    return sorted(
        shape["points"] for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes
    )


def test_a_second_run_neither_fetches_nor_detects_nor_uploads(client, make_task, downloads):
    task_id = make_task(6)
    annotate_task(client, task_id, Counting())
    assert sorted(downloads) == [0, 1, 2]
    again = Counting()
    report = annotate_task(client, task_id, again)
    assert again.seen == []
    assert sorted(downloads) == [0, 1, 2]
    assert (report.frames, report.frames_from_cache, report.added) == (6, 6, 0)


def test_second_run_with_another_spelling_of_the_address_detects_nothing(client, make_task, sandbox):
    task_id = make_task(6)
    annotate_task(client, task_id, Counting())
    again = Counting()
    with Client(sandbox.url.replace("http://127.0.0.1", "LocalHost") + "/api/") as other:
        assert other.url != client.url
        other.login((sandbox.user, sandbox.password))
        report = annotate_task(other, task_id, again)
    assert again.seen == []
    assert (report.frames, report.frames_from_cache, report.added) == (6, 6, 0)
    assert report.url == f"{other.url}/tasks/{task_id}", "people see the address as it was given"


@pytest.mark.parametrize(
    "change",
    [
        {"function": Counting("2")},
        {"conf_threshold": 0.1},
        {"conv_mask_to_poly": True},
        {"refresh_cache": True},
        {"use_cache": False},
        {"frames": [0, 1, 2]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_inputs_are_detected_again(client, make_task, change):
    task_id = make_task(4)
    annotate_task(client, task_id, Counting())
    function = change.pop("function", Counting())
    annotate_task(client, task_id, function, **change)
    expected = ["0002.png"] if "frames" in change else [f"{i:04}.png" for i in range(4)]
    assert function.seen == expected


def test_unchanged_inputs_are_read_from_the_cache(client, make_task):
    task_id = make_task(4)
    annotate_task(client, task_id, Counting())
    again = Counting()
    report = annotate_task(
        client, task_id, again, label_map={"car": "person"}, frames_per_batch=1, existing="clear"
    )
    assert again.seen == []
    assert report.labels == {"person": 4}


def test_corrupt_entry_is_recreated(client, make_task, caplog):
    task_id = make_task(4)
    annotate_task(client, task_id, Counting())
    newest = max(DetectionCache().entries(), key=lambda entry: entry[1].st_mtime_ns)[0]
    newest.write_bytes(newest.read_bytes()[:-3])
    again = Counting()
    annotate_task(client, task_id, again)
    assert len(again.seen) == 2
    assert "are invalid and are made again" in caplog.text
    assert len(points(client, task_id)) == 4


def test_a_function_that_cannot_be_compared_is_run_again(client, make_task):
    task_id = make_task(2)
    spec, seen = Counting.spec, []

    def detect(context, image):
        seen.append(context.frame_name)
        return [rectangle(1, [0, 0, 5, 5])]

    function = SimpleNamespace(spec=spec, detect=detect, session=iter([1]))
    annotate_task(client, task_id, function)
    report = annotate_task(client, task_id, function)
    assert len(seen) == 4
    assert (report.added, report.already_there) == (0, 2)


def test_cache_size_is_bounded(tmp_path):
    from prefect_cvat.frames import FrameDetections

    shapes = [rectangle(1, [i, i + 0.123, i + 5.5, i + 9.25], score=i / 1000) for i in range(1000)]
    cache = DetectionCache(tmp_path, size_limit=60_000)
    for i in range(20):
        cache.put(DetectionCache.key(number=i), [FrameDetections(i, [], shapes)])
        time.sleep(0.002)
    count, size = cache.size()
    assert size <= 60_000 + 60_000 // 20 + 30_000
    assert 0 < count < 20
    assert cache.get(DetectionCache.key(number=0)) is None
    kept = cache.get(DetectionCache.key(number=19))
    assert kept[0].shapes == shapes
    assert cache.clear() == count


def test_only_one_run_at_a_time(client, make_task):
    task_id = make_task(2)
    with (
        exclusive_run(client.url, task_id),
        pytest.raises(
            RunInProgressError, match=rf"another run is annotating task {task_id} .*process {os.getpid()}"
        ),
    ):
        annotate_task(client, task_id, Counting())
    annotate_task(client, task_id, Counting())


SLOW = """
import sys, time
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Slow:
    version = "slow"
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def detect(self, context, image):
        with open(sys.argv[4], "a") as log:
            print(context.frame_name, file=log)
        time.sleep(0.1)
        return [rectangle(1, [0, 0, 5 + int(context.frame_name[:4]), 9], score=0.5)]

client = Client(sys.argv[1])
client.login((sys.argv[2], "admin"))
annotate_task(client, int(sys.argv[3]), Slow(), frames_per_batch=2)
"""


def test_killed_run_is_completed_by_the_next_run(sandbox, client, make_task, tmp_path):
    task_id = make_task(20, segment_size=7)
    log = tmp_path / "log"
    command = [sys.executable, "-c", SLOW, sandbox.url, sandbox.user, str(task_id), str(log)]
    process = subprocess.Popen(command)
    try:
        while not log.exists() or len(log.read_text().split()) < 10:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    first = log.read_text().split()
    assert len(first) < 15
    log.unlink()

    subprocess.run(command, check=True, timeout=60)

    second = log.read_text().split()
    assert len(first) + len(second) <= 20 + 2  # at most the batch that was being detected is detected again
    assert points(client, task_id) == sorted([0, 0, 5 + i, 9] for i in range(20))
