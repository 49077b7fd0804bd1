"""What a run of `annotate task` asks of the Prefect server: requests by route, events, and seconds.

python benchmarks/prefect_cost.py --json benchmarks/prefect_cost.json

The Prefect server is a real one, in a process of its own, behind a middleware that counts. Runs have 1, 10
and 100 batches; a stub detector takes half a second for each. The run of one batch is repeated with a
detector that takes no time, and compared with the same run in a script: the difference is the fixed cost.
Prefect's heartbeat thread is off, except in the last line: it delays the return of a flow that is completed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from servers import in_child, log_in, make_task, prefect_server, sandbox

BATCH_FRAMES = 10
DETECT_SECONDS = 0.05
"""A batch takes half a second."""

BATCHES = (1, 10, 100)
REPETITIONS = 7
"""How often the run of one batch is timed; the median counts."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"(?<=/)(prefect-cvat-|benchmark|annotate task|cvat-credentials)[^/]*")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--child", nargs=3, metavar=("URL", "TASK", "REPETITIONS"))
    parser.add_argument("--server", type=int, metavar="PORT", help="be the Prefect server")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--json", type=Path, help="where to write the results")
    arguments = parser.parse_args()
    if arguments.server:
        serve(arguments.server)
    elif arguments.child:
        url, task_id, repetitions = arguments.child
        print(json.dumps(annotate(url, int(task_id), int(repetitions))))
    else:
        result = measure(arguments.batches)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(batches: list[int]) -> dict[str, Any]:
    """Runs of each number of batches, then the fixed cost."""
    result: dict[str, Any] = {"load": os.getloadavg()[0], "runs": []}
    # lines of logs are sent as by the runs of our deployments
    server = prefect_server(__file__, "--server", PREFECT_LOGGING_TO_API_BATCH_INTERVAL="5")
    with server, sandbox() as url:
        for number in batches:
            os.environ["BENCHMARK_DETECT_SECONDS"] = str(DETECT_SECONDS)
            row = {"batches": number, **_child(url, number, 0)}
            result["runs"].append(row)
            print(
                f"{number:3} batches: {sum(row['routes'].values())} requests, {sum(row['events'].values())}"
                f" events, {row['wall']:.1f} s, of the server {row['server_cpu']:.2f} s of CPU"
            )
            for route, count in (*row["routes"].items(), *row["events"].items()):
                print(f"    {count:5} {route}")
        os.environ["BENCHMARK_DETECT_SECONDS"] = "0"
        result["fixed"] = _child(url, 1, REPETITIONS)
        print(
            "one batch, no work: flow {flow:.2f} s, script {script:.2f} s; with heartbeats the flow is"
            " completed after {completed:.2f} s and returns after {returned:.2f} s".format_map(
                result["fixed"]
            )
        )
    return result


def _child(url: str, batches: int, repetitions: int) -> dict[str, Any]:
    frames = batches * BATCH_FRAMES
    task_id = make_task(log_in(url), frames, labels=["car"], size=(64, 48), chunk_size=BATCH_FRAMES)
    return in_child(__file__, "--child", url, task_id, repetitions)


def annotate(url: str, task_id: int, repetitions: int) -> dict[str, Any]:
    """Annotate a task once and count, or some times and take the time."""
    from benchmark_functions import slow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from pydantic import SecretStr

    from prefect_cvat import annotate_task as annotate_task_in_script
    from prefect_cvat.credentials import CvatCredentials
    from prefect_cvat.flows.annotate_task import annotate_task
    from prefect_cvat.options.execution_options import ExecutionSettings
    from prefect_cvat.options.frame_options import FrameOptions

    CvatCredentials(url=url, username="admin", password=SecretStr("admin")).save("benchmark", overwrite=True)
    block = CvatCredentials.load("benchmark")
    execution = ExecutionSettings(use_cache=False, frames_per_batch=BATCH_FRAMES)
    client = log_in(url)

    def flow(**frames: Any) -> object:
        selection = FrameOptions(**frames)
        return annotate_task(
            task_id, block, "benchmark_functions.slow", frames=selection, execution=execution
        )

    def script() -> object:
        return annotate_task_in_script(client, task_id, slow, use_cache=False, frames_per_batch=BATCH_FRAMES)

    def timed(work: Callable[[], object]) -> float:
        for job in client.jobs(task_id):
            client.delete_job_annotations(job.id, client.job_annotations(job.id).model_dump(mode="json"))
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    # the thread that beats takes up to a second at the end of a run, by Prefect's own code
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        flow(frames=[0])  # imports and connections are no part of this
        if repetitions:
            times = [(timed(flow), timed(script)) for _ in range(repetitions)]
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
                beating = [(timed(flow), _seconds_until_completed()) for _ in range(repetitions)]
            flows, scripts = map(statistics.median, zip(*times, strict=True))
            returned, completed = map(statistics.median, zip(*beating, strict=True))
            return {"flow": flows, "script": scripts, "completed": completed, "returned": returned}
        time.sleep(6)  # the rest of its logs and events
        _counts(reset=True)
        wall = timed(flow)
        time.sleep(6)
    return {"wall": wall, **_counts()}


def _seconds_until_completed() -> float:
    """How long the newest flow run took until it was completed, by the Prefect server's record."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    assert run.expected_start_time is not None
    assert run.end_time is not None
    return (run.end_time - run.expected_start_time).total_seconds()


def serve(port: int) -> None:
    """Run a Prefect server that counts the requests and events that it gets, and tells them at /counts."""
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(_Counting(create_app()), host="127.0.0.1", port=port, log_level="warning")


class _Counting:
    def __init__(self, app: Any) -> None:
        self._app = app
        self._reset()

    def _reset(self) -> None:
        self._routes: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._cpu = time.process_time()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if scope["path"] == "/counts":
                await self._tell(scope, receive, send)
                return
            path = _NAME.sub("NAME", _ID.sub("ID", scope["path"].rstrip("/")))
            self._routes[f"{scope['method']} {path}"] += 1
        elif scope["type"] == "websocket" and scope["path"].endswith("/events/in"):
            receive = self._counting_events(receive)
        await self._app(scope, receive, send)

    def _counting_events(self, receive: Any) -> Any:
        async def receive_and_count() -> Any:
            message = await receive()
            if text := message.get("text"):
                self._events[json.loads(text).get("event", "authentication")] += 1
            return message

        return receive_and_count

    async def _tell(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import JSONResponse

        answer = {
            "routes": dict(self._routes.most_common()),
            "events": dict(self._events.most_common()),
            "server_cpu": time.process_time() - self._cpu,
        }
        if scope["method"] == "DELETE":
            self._reset()
        await JSONResponse(answer)(scope, receive, send)


def _counts(*, reset: bool = False) -> dict[str, Any]:
    address = os.environ["PREFECT_API_URL"].removesuffix("/api") + "/counts"
    with urlopen(Request(address, method="DELETE" if reset else "GET"), timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


if __name__ == "__main__":
    main()
