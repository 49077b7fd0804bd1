"""A nightly run over a project of 1,000 small tasks, 900 of which are done: time, requests, memory.

python benchmarks/project.py

The sandbox and a real Prefect server. The 900 are done because completed flow runs with their tags exist;
the first run on the project notes on them that the tasks are unchanged, the second one finds that noted. The
runs on the new tasks take no time here: a stand-in for the workers completes them as soon as they are
scheduled, so that what is measured is the run on the project itself.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from servers import in_child, log_in, prefect_server, sandbox

FUNCTION = "benchmark_functions.slow"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--done", type=int, default=900)
    parser.add_argument("--child", metavar="URL")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_flows(arguments.child, arguments.tasks, arguments.done)))
        return
    with prefect_server(PREFECT_LOGGING_LEVEL="ERROR"), sandbox() as url:
        rows = in_child(__file__, "--child", url, "--tasks", arguments.tasks, "--done", arguments.done)
    for row in rows:
        print(
            f"{row['what']}: {row['completed']} annotated, {row['already']} skipped in {row['wall']:.1f} s,"
            f" the first run started after {row['first']:.1f} s; memory {row['grown']:.0f} MB more"
        )
        for server in ("cvat", "prefect"):
            routes = ", ".join(f"{count} {route}" for route, count in row[server].items())
            print(f"  {sum(row[server].values())} requests to {server}: {routes}")


def run_flows(url: str, tasks: int, done: int) -> list[dict[str, Any]]:
    """Make the tasks and the history, and run the flow on the project four times."""
    from pydantic import SecretStr

    from prefect_cvat.credentials import CvatCredentials
    from prefect_cvat.tasks.prefect_limits import ensure_limit, server_limit

    CvatCredentials(url=url, username="admin", password=SecretStr("admin")).save("benchmark", overwrite=True)
    block = CvatCredentials.load("benchmark")
    ensure_limit(server_limit(url), 4, overwrite=True)
    project_id, task_ids = make_project(url, tasks)
    make_history(url, task_ids[:done])
    rows = []
    with workers():
        rows.append(measure(f"{done} of {tasks} done, not looked at before", block, project_id))
        make_project(url, tasks - done, project_id)
        rows.append(measure(f"{tasks - done} more, all others looked at once", block, project_id))
        rows.append(measure("nothing new", block, project_id))
        rows.append(measure("nothing new, again", block, project_id))
    return rows


def measure(what: str, block: Any, project_id: int) -> dict[str, Any]:
    """One run of the flow: its duration, requests, and the growth of the peak of memory."""
    from prefect_cvat.flows import annotate_project as module
    from prefect_cvat.flows.fan_out import FanOut

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with counted_requests() as counts:
        report = module.annotate_project(
            block, project_id, function=FUNCTION, fan_out=FanOut(runs_at_a_time=10)
        )
    return {
        "what": what,
        "completed": len(report.completed),
        "already": len(report.already_annotated),
        "wall": time.perf_counter() - started,
        "first": (counts.first_start or started) - started,
        "grown": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "cvat": dict(counts.cvat.most_common(8)),
        "prefect": dict(counts.prefect.most_common(8)),
    }


class Counts:
    """The requests of this process to CVAT and to Prefect, by route."""

    def __init__(self) -> None:
        self.cvat: Counter[str] = Counter()
        self.prefect: Counter[str] = Counter()
        self.first_start: float | None = None


@contextmanager
def counted_requests() -> Iterator[Counts]:
    """Count the requests of this thread's clients; those of the stand-in for the workers are not counted."""
    import httpx
    import requests

    counts = Counts()
    send, request = httpx.Client.send, requests.Session.request
    flow_thread = threading.current_thread()

    def send_to_prefect(self: Any, sent: Any, **options: Any) -> Any:
        if threading.current_thread() is flow_thread:
            route = re.sub(r"[0-9a-f-]{36}", "ID", sent.url.path)
            counts.prefect[f"{sent.method} {route}"] += 1
            if route.endswith("create_flow_run"):
                counts.first_start = counts.first_start or time.perf_counter()
        return send(self, sent, **options)

    def send_to_cvat(self: Any, method: str, url: str, **options: Any) -> Any:
        counts.cvat[f"{method} {re.sub(r'/[0-9]+', '/ID', url.partition('/api')[2])}"] += 1
        return request(self, method, url, **options)

    httpx.Client.send, requests.Session.request = send_to_prefect, send_to_cvat  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        httpx.Client.send, requests.Session.request = send, request  # type: ignore[method-assign]


def make_project(url: str, tasks: int, project_id: int | None = None) -> tuple[int, list[int]]:
    """A project with tasks of one small image."""
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (32, 24)).save(file, "PNG")
    with log_in(url) as client:
        if project_id is None:
            body = {"name": "a project", "labels": [{"name": "car"}]}
            project_id = int(client.json("POST", "/api/projects", body=body)["id"])
        ids = []
        for number in range(tasks):
            task = client.create_task(f"task {number}", [], project_id=project_id)
            client.upload_images(task.id, {"0.png": file.getvalue()})
            ids.append(task.id)
    return project_id, ids


def make_history(url: str, task_ids: list[int]) -> None:
    """Completed flow runs on tasks, with the tags that a run on them gets."""
    from prefect.client.orchestration import get_client
    from prefect.states import Completed

    with get_client(sync_client=True) as prefect, log_in(url) as client:
        for task_id in task_ids:
            meta = client.meta(task_id)
            run = prefect.create_flow_run(
                annotate_task_flow(),
                parameters={"task_id": task_id},
                tags=tags_of(client.url, task_id, meta.chunks_updated_date),
                state=Completed(),
            )
            assert run.id


def annotate_task_flow() -> Any:
    """A flow of the same name; the real one has parameters that need a block."""
    from prefect import flow

    @flow(name="annotate task", validate_parameters=False)
    def annotate_task(task_id: int) -> None:
        """Do nothing."""

    return annotate_task


def tags_of(url: str, task_id: int, media: object) -> list[str]:
    """The tags of a run on all jobs of a task."""
    from prefect_cvat.flows.flow_run_keys import key_tag, load_function_key, run_key, settings_tag, task_tag
    from prefect_cvat.flows.function_choice import choose_function
    from prefect_cvat.options.annotation_options import AnnotationOptions
    from prefect_cvat.options.execution_options import ExecutionSettings, ReviewOptions
    from prefect_cvat.options.existing_annotation_options import ExistingOptions
    from prefect_cvat.options.label_and_threshold_options import LabelOptions
    from prefect_cvat.options.run_options import Options

    if not _VERSIONS:
        chosen = choose_function(
            None, FUNCTION, None, ExecutionSettings(), LabelOptions(), AnnotationOptions()
        )
        options = Options.of_form(chosen, ExistingOptions(), ExecutionSettings(), ReviewOptions())
        _VERSIONS.append((load_function_key(chosen, url), options))
    version, options = _VERSIONS[0]
    key = run_key(url, task_id, media, version, "annotate", options)
    return [
        key_tag(FUNCTION, key),
        task_tag(url, task_id),
        settings_tag(url, version, "annotate", options),
    ]


_VERSIONS: list[Any] = []


@contextmanager
def workers() -> Iterator[None]:
    """A deployment whose runs are completed as soon as they are scheduled, in place of workers."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Completed

    stopped = threading.Event()
    scheduled = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    )

    def complete() -> None:
        with get_client(sync_client=True) as prefect:
            while not stopped.wait(0.5):
                for run in prefect.read_flow_runs(flow_run_filter=scheduled, limit=50):
                    prefect.set_flow_run_state(run.id, Completed(message="1 added on 1 frame"), force=True)

    with get_client(sync_client=True) as prefect:
        flow_id = prefect.create_flow(annotate_task_flow())
        prefect.create_deployment(flow_id, "annotate-task", enforce_parameter_schema=False)
    thread = threading.Thread(target=complete)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


if __name__ == "__main__":
    main()
