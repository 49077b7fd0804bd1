"""How many shards of a task may run at a time before Prefect's server holds them up: a simulation.

python benchmarks/shards.py --json benchmarks/shards.json --plot docs/images/benchmark-shards.png

Each shard has a worker of its own (a thread here) and the same work: frames on which a stub detector sleeps,
so that any number of them fits on a small machine. Twice as many shards do twice as much in the same time,
as long as nothing that they share is full. What they share is Prefect's server with its database, the
sandbox, and here also the processor. PostgreSQL must be installed (`apt-get install postgresql`).
Two ways are compared:

- `runs`: each shard is a flow run, each batch a Prefect task run (`annotate_task`). The flow runs are created
  one after another, as `annotate_project` does, and each is started at once.
- `tasks`: each shard is one Prefect task run of one flow run (`annotate_shards`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from servers import in_child, log_in, make_task, prefect_server, sandbox_process

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from postgresql import postgresql

FRAMES_A_SHARD = 60
BATCH_FRAMES = 10
DETECT_SECONDS = 1.0
"""A batch takes ten seconds, and a shard sixty."""

LEAST_EFFICIENCY = 0.3
"""Below this, twice as many shards only take twice as long."""

WAYS = ("runs", "tasks")
DATABASES = ("sqlite", "postgresql")
COUNTS = (4, 8, 16, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--child", nargs=4, metavar=("WAY", "URL", "TASK", "SHARDS"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="shards at a time")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--plot", type=Path, help="where to draw them")
    arguments = parser.parse_args()
    if arguments.child:
        way, url, task_id, shards = arguments.child
        print(json.dumps(carry_out(way, url, int(task_id), int(shards))))
        return
    rows: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():  # of the other ways
        rows = [row for row in json.loads(arguments.json.read_text()) if not _is_measured(row, arguments)]
    for way in arguments.ways:
        for database in arguments.databases:
            rows += measure(way, database, arguments.counts)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.plot:
        plot(rows).savefig(arguments.plot, dpi=120, bbox_inches="tight")


def _is_measured(row: dict[str, Any], arguments: argparse.Namespace) -> bool:
    return (
        row["way"] in arguments.ways
        and row["database"] in arguments.databases
        and row["shards"] in arguments.counts
    )


def measure(way: str, database: str, counts: Sequence[int]) -> list[dict[str, Any]]:
    """One way with growing numbers of shards, until these do no more; servers are new for each."""
    rows: list[dict[str, Any]] = []
    for shards in counts:
        try:
            row = measure_one(way, database, shards)
        except RuntimeError as error:
            print(f"{way:<5} {database:<10} {shards:3} shards: a run failed: {str(error).splitlines()[-1]}")
            break
        rows.append(row)
        cores = ", ".join(f"{name} {value:.2f}" for name, value in row["cores"].items())
        print(
            f"{way:<5} {database:<10} {shards:3} shards: {row['wall']:6.1f} s,"
            f" efficiency {row['efficiency']:.2f}, cores: {cores}",
            flush=True,
        )
        if row["efficiency"] < LEAST_EFFICIENCY:
            break
    return rows


def measure_one(way: str, database: str, shards: int) -> dict[str, Any]:
    """Annotate a task in shards on servers of its own."""
    settings = {
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "BENCHMARK_DETECT_SECONDS": str(DETECT_SECONDS),
    }
    os.environ.pop("PREFECT_API_DATABASE_CONNECTION_URL", None)  # of the row before
    pids: dict[str, int] = {}
    with ExitStack() as stack:
        if database == "postgresql":
            server = stack.enter_context(postgresql())
            settings["PREFECT_API_DATABASE_CONNECTION_URL"] = server.url
            pids["database"] = server.pid
        pids["Prefect's server"] = stack.enter_context(prefect_server(**settings)).pid
        url, pids["sandbox"] = stack.enter_context(sandbox_process())
        task_id = make_task(
            log_in(url),
            shards * FRAMES_A_SHARD,
            labels=["car"],
            size=(64, 48),
            chunk_size=BATCH_FRAMES,
            segment_size=FRAMES_A_SHARD,
        )
        os.environ["BENCHMARK_PIDS"] = json.dumps(pids)
        result = in_child(__file__, "--child", way, url, task_id, shards)
    cores = {name: seconds / result["wall"] for name, seconds in result["cpu"].items()}
    return {
        "way": way,
        "database": database,
        "shards": shards,
        "efficiency": FRAMES_A_SHARD * DETECT_SECONDS / result["wall"],
        "wall": result["wall"],
        "cores": cores,
    }


def carry_out(way: str, url: str, task_id: int, shards: int) -> dict[str, Any]:
    """Annotate a task in shards; each has a thread for itself."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.task_runners import ThreadPoolTaskRunner
    from pydantic import SecretStr

    from prefect_cvat.credentials import CvatCredentials
    from prefect_cvat.flows.annotate_shards import annotate_shards
    from prefect_cvat.flows.annotate_task import annotate_task
    from prefect_cvat.options.execution_options import ExecutionSettings
    from prefect_cvat.options.frame_options import FrameOptions
    from prefect_cvat.tasks.client_retries import ask_busy_server_again_soon
    from prefect_cvat.tasks.prefect_limits import ensure_limit, server_limit

    CvatCredentials(url=url, username="admin", password=SecretStr("admin")).save("benchmark", overwrite=True)
    block = CvatCredentials.load("benchmark")
    ensure_limit(server_limit(url), max(COUNTS), overwrite=True)
    function = {"function": "benchmark_functions.slow"}
    execution = ExecutionSettings(use_cache=False, frames_per_batch=BATCH_FRAMES)
    with log_in(url) as client:
        jobs = [job.id for job in client.jobs(task_id)]

    def start(job: int) -> Future[Any]:
        frames = FrameOptions(jobs=[job])
        arguments = {"task_id": task_id, "credentials": block, "frames": frames, "execution": execution}
        flow_run = prefect.create_flow_run(annotate_task)
        return pool.submit(run_flow, annotate_task, flow_run, parameters={**arguments, **function})

    # the thread that beats takes a second at the end of each run, which is as long as a heartbeat is no load
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        run_first = FrameOptions(jobs=jobs[:1], frames=[0])  # imports and connections are no part of this
        annotate_task(task_id, block, frames=run_first, execution=execution, **function)
        pids = {**json.loads(os.environ["BENCHMARK_PIDS"]), "workers": os.getpid()}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        wall = time.perf_counter()
        if way == "runs":
            with get_client(sync_client=True) as prefect, ThreadPoolExecutor(shards) as pool:
                ask_busy_server_again_soon(prefect)
                for future in [start(job) for job in jobs]:
                    future.result()
        else:
            runner = ThreadPoolTaskRunner(max_workers=shards)
            annotate_shards.with_options(task_runner=runner)(
                task_id, block, shard_frames=FRAMES_A_SHARD, execution=execution, **function
            )
    wall = time.perf_counter() - wall
    return {"wall": wall, "cpu": {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}}


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time of a process and its children, as Linux counts them: user and system."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for process in (pid, *_children(pid)):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / ticks  # with its children that have ended
    return total


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_children(child)]
    return found


def plot(rows: list[dict[str, Any]]) -> Any:
    """Efficiency over the number of shards, and how busy the servers are."""
    import matplotlib.pyplot as plt

    names = {"runs": "each shard a flow run", "tasks": "each shard one task run"}
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
    for way, name in names.items():
        for database in DATABASES:
            points = [row for row in rows if row["way"] == way and row["database"] == database]
            if not points:
                continue
            shards = [row["shards"] for row in points]
            label = f"{name}, {'SQLite' if database == 'sqlite' else 'PostgreSQL'}"
            above.plot(shards, [row["efficiency"] for row in points], marker="o", label=label)
            below.plot(shards, [sum(row["cores"].values()) for row in points], marker="o", label=label)
    title = f"shards of {FRAMES_A_SHARD * DETECT_SECONDS:.0f} s of detection"
    above.set(ylabel="efficiency", ylim=(0, 1.05), title=title)
    below.axhline(2, color="black", linestyle=":", label="the machine is full")
    below.set(ylabel="cores used by all", xlabel="shards at a time", xscale="log")
    below.set_xticks(COUNTS, [str(count) for count in COUNTS])
    below.minorticks_off()
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
