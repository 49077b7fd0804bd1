"""The report and the pictures of a run, as artifacts of a real Prefect server; the runs go to the sandbox."""

import base64
import io
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import PIL.Image
import pytest
from prefect import flow

from artifact_runs import all_that_is_logged, artifacts_of, cars, run_flow, seen
from prefect_cvat import Client
from prefect_cvat.cli.demo_run import create_demo_task
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.options.run_options import Options
from prefect_cvat.rendering.sample_frames import Drawing
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tasks import artifacts
from prefect_cvat.tasks.artifacts import draw_frames, publish_report
from prefect_proxy import prefect_proxy

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


@pytest.fixture
def progress_at_once(monkeypatch):
    """Also short runs have a progress bar."""
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)


def content(artifact, media_type):
    """What the data URI of an image artifact holds."""
    assert artifact.type == "image"
    assert len(artifact.data) <= 300_000
    head, data = artifact.data.split(",", 1)
    assert head == f"data:{media_type};base64"
    return base64.b64decode(data, validate=True)


def test_run_publishes_progress_report_link_and_pictures(client, make_task, sandbox, progress_at_once):
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


def test_report_of_failed_run_names_error_and_says_nothing_is_left(client, make_task, progress_at_once):
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


def test_report_of_cancelled_run_counts_annotations_on_the_server(client, make_task, progress_at_once):
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
    assert [line for line in lines() if "the frames of task" in line and "could not be made" in line]


def test_refused_report_is_logged_without_its_content(monkeypatch):
    @flow(name="publish", persist_result=False)
    def publish():
        report = RunReport(
            task_id=5, task_name="t", url="http://c/tasks/5", function="f", started=datetime.now(UTC)
        )
        publish_report(report, pictures=[Drawing(0, "a frame", "<svg>" + "x" * 5000 + "</svg>")])

    with prefect_proxy() as requests, all_that_is_logged() as lines:
        requests.status = 422
        publish()
    [line] = [line for line in lines() if "not all artifacts of the run could be created" in line]
    assert "the annotations in CVAT are not affected" in line
    assert len(line) < 400
