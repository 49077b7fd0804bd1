"""What one sees of a run in Prefect: artifacts, read back from a real server; the runs go to the sandbox."""

import base64
import io
import logging
import threading
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace

import httpx
import PIL.Image
import pytest
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
)
from prefect.client.schemas.sorting import ArtifactSort
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_RETRY_JITTER_FACTOR, temporary_settings

from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.cli.demo_run import create_demo_task
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.options.run_options import Options
from prefect_cvat.rendering.sample_frames import Drawing
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.reports.run_report import RunReport
from prefect_cvat.tasks import artifacts
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

ANY = float("inf")
"""A share of time that all updates are within."""

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


def cars(detect=lambda context: None):
    """A function that finds two cars on every frame, once `detect` has had its way."""

    def detect_cars(context, image):
        detect(context)
        return [rectangle(7, [1, 2, 31, 42], score=0.62), rectangle(7, [20, 2, 41, 22], score=0.97)]

    return SimpleNamespace(spec=SPEC, detect=detect_cars)


@flow(name="a run", persist_result=False)
def run_flow(client, task_id, function, frames_per_batch=1, cancel_after=None):
    """What the flows of this package do, as far as one sees it."""
    run = AnnotateRun(
        client, task_id, function, Options(frames_per_batch=frames_per_batch), function_name="a_function"
    )
    seen.append(flow_run.id)
    progress = Cancelling(run.report, get_run_logger())
    progress.frames_left = cancel_after
    started = time.perf_counter()
    try:
        with ThreadSubmitter() as threads:
            report = run_pipeline(run, threads, progress)
    except BaseException as error:
        partial = run.finish_report(time.perf_counter() - started)
        outcome = "failed" if isinstance(error, Exception) else "cancelled"
        publish_report(partial, outcome=outcome, error=str(error))
        raise
    publish_report(report, pictures=draw_frames(client, run.planned.plan))
    return report


class Cancelling(ArtifactProgress):
    """Cancels the run after a number of frames, by an exception in the main thread, as a signal does."""

    frames_left = None

    def advance(self, frames):
        super().advance(frames)
        if self.frames_left is not None:
            self.frames_left -= frames
            if self.frames_left == 0:
                raise KeyboardInterrupt


seen: list[str] = []
"""The ids of the flow runs of `run_flow`."""


def artifacts_of(flow_run_id):
    """The artifacts of a flow run, by key."""
    with get_client(sync_client=True) as prefect:
        found = prefect.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id])),
            sort=ArtifactSort.UPDATED_DESC,
        )
    ours = [artifact for artifact in found if artifact.key is not None]  # Prefect has some of its own
    by_key = {artifact.key: artifact for artifact in ours}
    assert len(by_key) == len(ours)
    return by_key


def content(artifact, media_type):
    """What the data URI of an image artifact holds."""
    assert artifact.type == "image"
    assert len(artifact.data) <= 300_000
    head, data = artifact.data.split(",", 1)
    assert head == f"data:{media_type};base64"
    return base64.b64decode(data, validate=True)


@contextmanager
def all_that_is_logged():
    """All log messages of Prefect and of this package, regardless of the level set in tests."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    levels = {
        name: logging.getLogger(name).level for name in ("prefect", "prefect.flow_runs", "prefect_cvat")
    }
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    for name in ("prefect", "prefect_cvat"):
        logging.getLogger(name).addHandler(handler)
    try:
        yield lambda: [record.getMessage() for record in records]
    finally:
        for name, level in levels.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)


def test_run_publishes_progress_report_link_and_pictures(client, make_task, sandbox):
    task_id = make_task(8)
    with all_that_is_logged() as lines:
        report = run_flow(client, task_id, cars())
    found = artifacts_of(seen[-1])
    frames = [f"frame-{number}-task-{task_id}" for number in (0, 2, 4, 6)]
    names = [f"{what}-task-{task_id}" for what in ("progress", "report", "scores")]
    assert sorted(found) == sorted(names + frames)

    bar = found[f"progress-task-{task_id}"]
    assert (bar.type, bar.data) == ("progress", 100.0)
    assert bar.description == (
        f"[Task {task_id}](<{sandbox.url}/tasks/{task_id}>), a task, with a\\_function: 8 of 8 frames"
    )
    markdown = found[f"report-task-{task_id}"]
    assert markdown.type == "markdown"
    assert f"# [Task {task_id}](<{report.url}>), a task\n\n**Completed**: 8 frames" in markdown.data
    assert "| car | 16 |" in markdown.data

    scores = ET.fromstring(content(found[f"scores-task-{task_id}"], "image/svg+xml"))
    assert "car" in [text.text for text in scores.iter("{http://www.w3.org/2000/svg}text")]
    for number, key in zip((0, 2, 4, 6), frames, strict=True):
        svg = ET.fromstring(content(found[key], "image/svg+xml"))
        assert f"frame {number} \\(000{number}\\.png\\)\\: 2 annotations" in found[key].description
        texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert texts == ["car 0.62", "car 0.97"]

    assert "8 of 8 frames are done" in lines()
    assert not [line for line in lines() if "base64" in line or len(line) > 2000]
    token = client._transport._auth._token.get_secret_value()
    assert not [line for line in lines() if token in line]


def test_pictures_show_detections_on_photographs(client, tmp_path):
    from prefect_cvat.auto_annotation.functions import nanodet_detection

    task_id = create_demo_task(client)
    run_flow(client, task_id, nanodet_detection.create(device="cpu"), frames_per_batch=2)
    found = artifacts_of(seen[-1])
    pictures = [artifact for key, artifact in found.items() if key.startswith("frame-")]
    assert len(pictures) == 4
    for artifact in pictures:
        svg = ET.fromstring(content(artifact, "image/svg+xml"))
        href = svg.find("{http://www.w3.org/2000/svg}image").get("href")
        image = PIL.Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2])))
        image.load()
        assert image.format == "JPEG"
        assert max(image.size) <= 640
        assert len(svg.findall("{http://www.w3.org/2000/svg}g")) > 0


def test_progress_is_updated_during_the_run(client, make_task, monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0.2)
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    task_id = make_task(6, chunk_size=1)
    key = f"progress-task-{task_id}"
    values = []
    is_over = threading.Event()
    api = PREFECT_API_URL.value()

    def watch():
        with httpx.Client() as http:
            while not is_over.wait(0.1):
                body = {"artifacts": {"key": {"any_": [key]}}}
                values.extend(
                    found["data"] for found in http.post(f"{api}/artifacts/filter", json=body).json()
                )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run_flow(client, task_id, cars(lambda context: time.sleep(0.6)))
    finally:
        is_over.set()
        watcher.join()
    assert values == sorted(values)
    assert values[0] == 0
    assert len({value for value in values if 0 < value < 100}) >= 3


def test_progress_is_updated_by_time_not_by_batch(client, make_task, monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 1.0)
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    updates = []
    update = artifacts.update_progress_artifact
    monkeypatch.setattr(
        artifacts,
        "update_progress_artifact",
        lambda *args: updates.append(time.monotonic()) or update(*args),
    )
    run_flow(client, make_task(30, chunk_size=1), cars(lambda context: time.sleep(0.1)))
    between = [later - earlier for earlier, later in pairwise(updates[:-1])]
    assert 1 <= len(between) <= 6
    assert min(between) >= artifacts.SECONDS_BETWEEN_UPDATES


def test_report_of_failed_run_names_error_and_says_nothing_is_left(client, make_task):
    task_id = make_task(6, chunk_size=1)

    def gone(context):
        if context.frame_name.startswith("0004"):
            raise ConnectionError("the model's server <b>has gone</b>")

    with pytest.raises(BadFunctionError):
        run_flow(client, task_id, cars(gone))
    found = artifacts_of(seen[-1])
    names = ("progress", "report", "scores")
    assert sorted(found) == sorted(f"{what}-task-{task_id}" for what in names)
    head = found[f"report-task-{task_id}"].data.split("##")[0]
    assert "**Failed**: " in head
    assert "\\<b\\>has gone\\<\\/b\\>" in head
    assert "No annotations of this run are on the server" in head
    assert found[f"progress-task-{task_id}"].data < 100


def test_report_of_cancelled_run_counts_annotations_on_the_server(client, make_task):
    task_id = make_task(12, chunk_size=1)
    with pytest.raises(KeyboardInterrupt):
        run_flow(client, task_id, cars(), cancel_after=3)
    found = artifacts_of(seen[-1])
    head = found[f"report-task-{task_id}"].data.split("##")[0]
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    assert "**Cancelled**: " in head
    assert f"{len(shapes)} annotations added by this run are on the server" in head
    assert 6 <= len(shapes) < 24
    assert found[f"progress-task-{task_id}"].data == 25


def test_warns_if_frames_cannot_be_drawn(client, make_task, sandbox):
    rule = {"methods": ["GET"], "path": "/data$", "fault": {"kind": "status", "status": 500}}

    @flow(name="draw", persist_result=False)
    def draw(task_id):
        run = AnnotateRun(client, task_id, cars(), Options())
        with ThreadSubmitter() as threads:
            run_pipeline(run, threads)
        sandbox.faults.set([rule], seed=1)
        try:
            return draw_frames(impatient, run.planned.plan)
        finally:
            sandbox.faults.clear()

    impatient = Client(sandbox.url, retry=RetryPolicy(give_up_after=0))
    impatient.login((sandbox.user, sandbox.password))
    with all_that_is_logged() as lines:
        assert draw(make_task(2)) == []
    assert [line for line in lines() if "no frames of task" in line and "can be drawn" in line]


# --- when Prefect's server has a hiccup ---


@contextmanager
def between_us_and_prefect():
    """A proxy of the Prefect server that can answer 503 for artifacts, or delay its answers."""
    api = PREFECT_API_URL.value()
    mode = SimpleNamespace(status=None, delay=0.0, asked=0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer, kind = 503, b'{"detail": "hiccup"}', "application/json"
            is_artifact = self.path.startswith("/api/artifacts")
            if is_artifact:
                mode.asked += 1
                time.sleep(mode.delay)
            if mode.status is None or not is_artifact:
                url = f"{api}{self.path.removeprefix('/api')}"
                headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
                passed = httpx.request(self.command, url, content=body, headers=headers)
                status, answer = passed.status_code, passed.content
                kind = passed.headers.get("Content-Type", kind)
            else:
                status = mode.status
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = _pass_on

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with temporary_settings(
            {
                PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api",
                PREFECT_CLIENT_RETRY_JITTER_FACTOR: 0,
            }
        ):
            yield mode
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@flow(name="tell progress", persist_result=False)
def tell(steps):
    """Tell an artifact about a run of ten frames; `steps` are called between them."""
    report = RunReport(
        task_id=5, task_name="t", url="http://c/tasks/5", function="f", started=datetime.now(UTC)
    )
    progress = ArtifactProgress(report, get_run_logger())
    progress.start(10)
    try:
        for step in steps:
            step()
            progress.advance(1)
    finally:
        progress.finish()
    return flow_run.id


def test_short_failure_of_prefect_server_does_not_delay_the_run(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    with between_us_and_prefect() as mode, all_that_is_logged() as lines:

        def fail():
            mode.status = 503

        def recover():
            failed.append(mode.asked)
            mode.status = None

        failed = []
        flow_run_id = tell([fail, *[lambda: None] * 4, recover, lambda: None])
    assert failed[0] - 1 == 5  # one attempt each, after the one that created the bar
    assert artifacts_of(flow_run_id)["progress-task-5"].data == 70
    assert len([line for line in lines() if "the progress artifact could not be updated" in line]) == 1


def test_creates_progress_artifact_after_a_failure(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0.2)
    with between_us_and_prefect() as mode, all_that_is_logged() as lines:
        mode.status = 500

        def recover():
            mode.status = None
            time.sleep(0.3)

        flow_run_id = tell([recover, lambda: None])
    assert artifacts_of(flow_run_id)["progress-task-5"].data == 20
    assert [line for line in lines() if "500" in line and "the run continues" in line]


def test_slow_server_gets_fewer_updates(monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)
    share = artifacts.MAX_TIME_SHARE
    monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", ANY)
    with between_us_and_prefect() as mode:

        def slow():
            monkeypatch.setattr(artifacts, "MAX_TIME_SHARE", share)
            mode.asked = 0
            mode.delay = 0.3

        tell([slow, *[lambda: time.sleep(0.1)] * 9])
    assert mode.asked == 2  # one that took 0.3 s, after which none is due for 6 s, and the last


def test_refused_report_is_logged_without_its_content(monkeypatch):
    @flow(name="publish", persist_result=False)
    def publish():
        report = RunReport(
            task_id=5, task_name="t", url="http://c/tasks/5", function="f", started=datetime.now(UTC)
        )
        publish_report(report, pictures=[Drawing(0, "a frame", "<svg>" + "x" * 5000 + "</svg>")])

    with between_us_and_prefect() as mode, all_that_is_logged() as lines:
        mode.status = 422
        publish()
    [line] = [line for line in lines() if "not all artifacts of the run could be created" in line]
    assert "the annotations in CVAT are not affected" in line
    assert len(line) < 400
