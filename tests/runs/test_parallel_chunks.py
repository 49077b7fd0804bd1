"""Chunks are downloaded several at a time, by the sandbox's clock: in scripts, with faults, and when a run stops."""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import PrefectCvatError, StorageError, TooManyRequestsError
from prefect_cvat.files.spool import PREFIX
from prefect_cvat.http.request_sender import RequestSender
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.runs.annotate_task import annotate_task
from prefect_cvat.sandbox import Sandbox
from prefect_cvat.sandbox.faults.kinds import Latency, Status, Throttle
from prefect_cvat.sandbox.faults.rules import Rule
from served_chunks import with_chunks


class Seeing:
    """A function that finds a car on each frame, and notes when it sees the frame."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def __init__(self, hook=lambda number: None):
        self.seen = []
        self.hook = hook

    def detect(self, context, image):
        number = int(context.frame_name[:4])
        self.seen.append((number, time.monotonic()))
        self.hook(number)
        return [rectangle(1, [0, 0, 1 + number / 10, 9])]


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox for this module; its end aborts abandoned responses."""
    with Sandbox() as server:
        yield server


@pytest.fixture
def faults(sandbox):
    yield sandbox.faults
    sandbox.faults.clear()


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path, monkeypatch):
    """No thread outlives a run, and nothing of it stays in the temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("download")]
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def chunks(number=None):
    query = "type=chunk" if number is None else f"type=chunk.*(number|index)={number}(&|$)"
    return {"methods": ("GET",), "path": "/data$", "query": query}


def annotations(client, task_id):
    return sorted(
        (shape["frame"], shape["points"][2])
        for job in client.jobs(task_id)
        for shape in client.job_annotations(job.id).shapes
    )


def expected(frames):
    return [(frame, pytest.approx(1 + frame / 10)) for frame in frames]


def seconds_of(client, task_id, **options):
    started = time.monotonic()
    report = annotate_task(client, task_id, Seeing(), use_cache=False, **options)
    return time.monotonic() - started, report


class AtATime:
    """Counts the requests for chunks that are under way."""

    def __init__(self, monkeypatch):
        self.running = self.max_running = 0
        self.times = []
        original, lock = RequestSender._send_once, threading.Lock()

        def send_once(sender, method, path, auth, into, *rest):
            if not path.endswith("/data"):
                return original(sender, method, path, auth, into, *rest)
            with lock:
                self.times.append((rest[-1]["params"].get("number"), time.monotonic()))
                self.running += 1
                self.max_running = max(self.max_running, self.running)
            try:
                return original(sender, method, path, auth, into, *rest)
            finally:
                with lock:
                    self.running -= 1

        monkeypatch.setattr(RequestSender, "_send_once", send_once)

    @property
    def numbers(self):
        return [number for number, _ in self.times]


@pytest.mark.parametrize(("downloads", "expected_number"), [(1, 1), (3, 3), (None, 4)])
def test_downloads_the_requested_number_at_a_time(
    client, make_task, faults, monkeypatch, downloads, expected_number
):
    task_id = make_task(24)
    faults.set([Rule(fault=Latency(seconds=0.3), **chunks())])
    counted = AtATime(monkeypatch)
    seconds, report = seconds_of(client, task_id, downloads=downloads)
    assert counted.max_running == expected_number
    assert sorted(counted.numbers) == list(range(12))
    if downloads == 1:
        assert counted.numbers == list(range(12)), "in the order in which they are needed"
    assert annotations(client, task_id) == expected(range(24))
    assert 12 * 0.3 / expected_number <= report.stage_seconds["fetch"] <= seconds
    assert report.stage_seconds["detect"] < 0.5 * report.stage_seconds["fetch"], "waiting is not detecting"


def test_detection_begins_with_the_first_chunk_of_a_batch(client, make_task, faults):
    task_id = make_task(8)
    faults.set([Rule(fault=Latency(seconds=3), **chunks(number)) for number in (2, 3)])
    function = Seeing()
    report = annotate_task(client, task_id, function, use_cache=False, frames_per_batch=8)
    assert report.batches == 1
    times = dict(function.seen)
    assert times[4] - times[3] > 1.5
    assert times[3] - times[0] < 1.5


@pytest.mark.usefixtures("sent_at_once")
def test_other_batches_do_not_delay_the_first(client, make_task, faults):
    task_id = make_task(12)
    faults.set([Rule(fault=Latency(seconds=3), **chunks(number)) for number in range(1, 6)])
    written = []

    def look(number):
        if number == 2:
            written.extend(annotations(client, task_id))

    annotate_task(client, task_id, Seeing(look), use_cache=False, frames_per_batch=2)
    assert written[:2] == expected(range(2))


def test_other_chunks_arrive_while_the_server_refuses_some(client, make_task, faults, monkeypatch):
    task_id = make_task(16)
    faults.set([Rule(fault=Throttle(retry_after=4), times=1, **chunks(number)) for number in (1, 2)])
    counted = AtATime(monkeypatch)
    seconds, report = seconds_of(client, task_id)
    assert 4 <= seconds < 8, "both wait at the same time"
    assert counted.numbers.index(3) < 5
    assert sorted(counted.numbers) == [0, 1, 1, 2, 2, 3, 4, 5, 6, 7]
    assert report.frames == 16
    assert annotations(client, task_id) == expected(range(16))


def test_refusing_server_does_not_get_more_and_more_requests(client, make_task, faults, monkeypatch):
    task_id = make_task(24)
    faults.set([Rule(fault=Throttle(retry_after=3), times=1, per_path=True, **chunks())])
    counted = AtATime(monkeypatch)
    _, report = seconds_of(client, task_id, frames_per_batch=8)
    first = [number for number, at in counted.times if at - counted.times[0][1] < 2.5]
    assert len(first) <= 6, "of twelve"
    assert report.frames == 24


def test_permanently_failed_chunk_stops_the_others_and_is_named(sandbox, client, make_task, faults):
    task_id = make_task(24)
    faults.set(
        [
            Rule(fault=Status(status=502), **chunks(5)),
            Rule(fault=Latency(seconds=60), **chunks(7)),
        ]
    )
    with Client(sandbox.url, retry=RetryPolicy(give_up_after=1)) as impatient:
        impatient.login((sandbox.user, sandbox.password))
        started = time.monotonic()
        with pytest.raises(
            PrefectCvatError, match=r"task \d+, batch \d+ .*chunk 5 \(frames 10-11\).*502"
        ) as raised:
            annotate_task(impatient, task_id, Seeing(), use_cache=False, frames_per_batch=4)
    assert str(raised.value).count("batch") == str(raised.value).count("chunk 5") == 1
    assert time.monotonic() - started < 30, "that which takes a minute is ended"
    assert annotations(client, task_id) == expected(range(8)), "the batches before are complete"
    faults.clear()
    annotate_task(client, task_id, Seeing())
    assert annotations(client, task_id) == expected(range(24))


def test_a_chunk_that_cannot_be_written_is_named(client, make_task, monkeypatch):
    task_id = make_task(12)
    original = Path.open

    def open_path(self, *args, **options):
        return original(Path("/dev/full") if self.name == "chunk-3.zip" else self, *args, **options)

    monkeypatch.setattr(Path, "open", open_path)
    with pytest.raises(StorageError, match=r"chunk 3 \(frames 6-7\)"):
        annotate_task(client, task_id, Seeing(), use_cache=False)


@pytest.mark.ctrl_c
@pytest.mark.parametrize("wait", [Latency(seconds=60), Throttle(retry_after=60)], ids=["chunk", "retry"])
def test_interruption_ends_waits(client, make_task, faults, wait):
    task_id = make_task(24)
    # a shell that starts the tests in the background ignores SIGINT, and so do they
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faults.set([Rule(fault=wait, **chunks(number)) for number in range(2, 12)])
    timer = threading.Timer(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            annotate_task(client, task_id, Seeing(), use_cache=False)
    finally:
        timer.cancel()  # after another error, pytest must not get the signal
    assert time.monotonic() - started < 12
    assert annotations(client, task_id) == expected(range(4))


def test_a_function_that_fails_does_not_wait_for_chunks(client, make_task, faults):
    task_id = make_task(24)
    faults.set([Rule(fault=Latency(seconds=60), **chunks(number)) for number in range(1, 12)])

    def fail(number):
        raise RuntimeError("no")

    started = time.monotonic()
    with pytest.raises(PrefectCvatError, match="RuntimeError: no"):
        annotate_task(client, task_id, Seeing(fail), use_cache=False, frames_per_batch=24)
    assert time.monotonic() - started < 20


def test_a_task_of_one_chunk(client, make_task):
    task_id = make_task(2)
    assert annotate_task(client, task_id, Seeing(), downloads=16).frames == 2


def test_chunks_on_disk_are_bounded(client, make_task, monkeypatch):
    task_id = make_task(80)
    monkeypatch.setenv("PREFECT_CVAT_MAX_SPOOL_BYTES", "150000")
    sizes = []
    with_chunks(monkeypatch, lambda params, data: sizes.append(len(data)))
    on_disk = []

    def note(number):
        [folder] = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
        on_disk.append(sum(path.stat().st_size for path in folder.glob("chunk-*")))
        time.sleep(0.02)

    annotate_task(client, task_id, Seeing(note), use_cache=False, frames_per_batch=10)
    assert 15_000 < sizes[0] < 20_000
    assert 100_000 < max(on_disk) <= 150_000 + 4 * 15_000, "of the first four the size was unknown"
    assert on_disk[-20] <= 150_000
    assert annotations(client, task_id) == expected(range(80))


def test_permanent_refusal_is_an_error(sandbox, make_task, faults):
    task_id = make_task(8)
    faults.set([Rule(fault=Throttle(retry_after=1), **chunks())])
    with Client(sandbox.url, retry=RetryPolicy(give_up_after=3)) as impatient:
        impatient.login((sandbox.user, sandbox.password))
        with pytest.raises(TooManyRequestsError, match=r"chunk \d \(frames \d-\d\)"):
            annotate_task(impatient, task_id, Seeing(), use_cache=False)
