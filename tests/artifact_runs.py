"""Runs that publish artifacts, what they log, and their artifacts, read back from the Prefect server."""

import logging
import time
from contextlib import contextmanager
from types import SimpleNamespace

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.sorting import ArtifactSort
from prefect.runtime import flow_run

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.tasks.artifacts import ArtifactProgress, draw_frames, publish_report

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


def cars(detect=lambda context: None):
    """A function that finds two cars on every frame; it calls `detect` first."""

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


seen = []
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
