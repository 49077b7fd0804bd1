"""The pipeline at its limit: efficiency, memory, the first annotations, what Prefect costs.

    python benchmarks/pipeline.py [--only efficiency memory upload prefect] [--json FILE]

- efficiency: 50 batches, each stage made as slow as stated, 50 ms of latency on each request; the slowest
  stage's time by all of the wall time, in `annotate_task()` and in the flow.
- memory: peak of a run over few and over many frames of 768x576 with 30 boxes each, ours and the SDK's; and
  when the first annotations were on the server. The SDK holds all of them, so it gets fewer frames.
- upload: 200,000 boxes, client CPU, ours and the SDK's.
- prefect: the same 1,000-frame task by `annotate_task()` and by the flow.

`--json` keeps the results in a file, part by part; `plots.py` draws what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from servers import in_child, log_in, make_task, measured, sandbox

PARTS = ("efficiency", "memory", "upload", "prefect")
LATENCY = {"path": "^/api/", "fault": {"kind": "latency", "seconds": 0.05}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--frames", type=int, nargs="*", default=[1_000, 5_000, 20_000], help="for memory, ours"
    )
    parser.add_argument(
        "--sdk-frames", type=int, nargs="*", default=[1_000, 4_000], help="for memory, the SDK's"
    )
    parser.add_argument("--json", type=Path, help="file to keep the results in")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        part, *rest = arguments.child
        print(json.dumps(CHILDREN[part](*rest)))
        return
    with sandbox() as url:
        if "efficiency" in arguments.only:
            keep(arguments.json, "efficiency", efficiency(url))
        if "memory" in arguments.only:
            keep(
                arguments.json, "memory", memory(url, {"ours": arguments.frames, "sdk": arguments.sdk_frames})
            )
        if "upload" in arguments.only:
            keep(arguments.json, "upload", upload(url))
        if "prefect" in arguments.only:
            keep(arguments.json, "prefect", prefect(url))


def keep(file: Path | None, part: str, rows: list[dict[str, Any]]) -> None:
    """Put the results of a part into the file, in place of those that it had of this part."""
    if file is not None:
        parts = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**parts, part: rows}, indent=1) + "\n")


def efficiency(url: str) -> list[dict[str, Any]]:
    print("efficiency: slowest stage / wall, 50 batches, 50 ms of latency on each request")
    rows = []
    for fetch, detect in ((0.2, 0.2), (0.2, 0.5), (0.5, 0.2)):
        for runner in ("annotate_task", "flow"):
            client = log_in(url)
            task_id = make_task(client, 50, labels=["car"], size=(64, 48), chunk_size=1, segment_size=10)
            result = in_child(__file__, "--child", "efficiency", runner, url, task_id, fetch, detect)
            share = max(result["fetch"], result["detect"], result["upload"]) / result["wall"]
            assert result["batches"] == 50
            print(
                f"  fetch {fetch:.1f} s, detect {detect:.1f} s a batch, {runner:<14}"
                f" wall {result['wall']:6.2f} s   efficiency {share:.3f}"
            )
            stages = {"fetch_seconds": fetch, "detect_seconds": detect}
            rows.append({**stages, "runner": runner, "wall": result["wall"], "efficiency": share})
    return rows


def efficiency_child(runner: str, url: str, task_id: str, fetch: str, detect: str) -> dict[str, float]:
    import requests

    rules = [{"path": "/data$", "query": "type=chunk", "fault": {"kind": "latency", "seconds": float(fetch)}}]
    requests.put(f"{url}/sandbox/faults", json={"seed": 0, "rules": [LATENCY, *rules]}, timeout=10)
    os.environ["BENCHMARK_DETECT_SECONDS"] = detect
    try:
        report = run_ours(runner, url, int(task_id), "benchmark_functions.slow", frames_per_batch=1)
    finally:
        requests.delete(f"{url}/sandbox/faults", timeout=10)
    return {
        "wall": report.seconds,
        "batches": report.batches,
        **{name: report.stage_seconds[name] for name in ("fetch", "detect", "upload")},
    }


def memory(url: str, sizes: dict[str, list[int]]) -> list[dict[str, Any]]:
    print("memory: peak of the process, 768x576 frames, 30 boxes each; seconds to the first annotations")
    rows: list[dict[str, Any]] = []
    for side, each_size in sizes.items():
        for frames in each_size:
            task_id = make_task(log_in(url), frames, labels=["car"], segment_size=1000)
            result = in_child(__file__, "--child", "memory", side, url, task_id)
            rows.append({"side": side, "frames": frames, **result})
            print(
                f"  {frames:6d} frames {side:<5} peak {result['peak_mb']:7.0f} MB"
                f"   wall {result['wall']:6.1f} s   cpu {result['cpu']:6.1f} s"
                f"   first annotations after {result['first']:6.1f} s"
            )
    return rows


def memory_child(side: str, url: str, task_id: str) -> dict[str, float]:
    started = time.perf_counter()
    first: list[float] = []

    def on_advance(_: int) -> None:
        if not first:
            first.append(time.perf_counter() - started)

    result = run_free(side, url, int(task_id), boxes=30, on_advance=on_advance)
    return {**result, "first": first[0] if first else result["wall"]}


def upload(url: str) -> list[dict[str, Any]]:
    print("upload: 2,000 frames of 64x48 with 100 boxes each")
    results = {}
    for side in ("ours", "sdk"):
        task_id = make_task(log_in(url), 2_000, labels=["car"], size=(64, 48), segment_size=500)
        results[side] = in_child(__file__, "--child", "upload", side, url, task_id)
        print(f"  {side:<5} cpu {results[side]['cpu']:6.1f} s   wall {results[side]['wall']:6.1f} s")
    print(f"  client CPU, sdk / ours: {results['sdk']['cpu'] / results['ours']['cpu']:.2f}")
    return [{"side": side, **result} for side, result in results.items()]


def upload_child(side: str, url: str, task_id: str) -> dict[str, float]:
    return run_free(side, url, int(task_id), boxes=100)


def prefect(url: str) -> list[dict[str, Any]]:
    print("prefect: 1,000 frames of 64x48, 2 ms of detection each")
    rows = []
    for runner in ("annotate_task", "flow"):
        task_id = make_task(log_in(url), 1_000, labels=["car"], size=(64, 48), segment_size=500)
        result = in_child(__file__, "--child", "prefect", runner, url, task_id)
        print(
            f"  {runner:<14} pipeline {result['seconds']:6.2f} s"
            f"   in all, start-up included {result['wall']:6.2f} s"
            f"   client CPU {result['cpu']:6.2f} s   batches {result['batches']:.0f}"
        )
        rows.append({"runner": runner, **result})
    return rows


def prefect_child(runner: str, url: str, task_id: str) -> dict[str, float]:
    os.environ["BENCHMARK_DETECT_SECONDS"] = "0.002"
    reports: list[Any] = []
    result = measured(lambda: reports.append(run_ours(runner, url, int(task_id), "benchmark_functions.slow")))
    return {**result, "seconds": reports[0].seconds, "batches": reports[0].batches}


def run_ours(runner: str, url: str, task_id: int, module: str, **options: Any) -> Any:
    """Run a function of ours by annotate_task() or by the flow, on a Prefect server of its own."""
    if runner == "annotate_task":
        from prefect_cvat import annotate_task
        from prefect_cvat.auto_annotation.loading import load_function_module

        return annotate_task(log_in(url), task_id, load_function_module(module), use_cache=False, **options)
    os.environ.update(
        PREFECT_HOME=tempfile.mkdtemp(),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
        PREFECT_LOGGING_LEVEL="ERROR",
        PREFECT_CVAT_FUNCTION_MODULES="benchmark_functions",
    )
    from pydantic import SecretStr

    from prefect_cvat.credentials import CvatCredentials
    from prefect_cvat.flows.annotate_task import annotate_task as flow
    from prefect_cvat.options.execution_options import ExecutionSettings

    CvatCredentials(url=url, username="admin", password=SecretStr("admin")).save("benchmark", overwrite=True)
    block = CvatCredentials.load("benchmark")
    execution = ExecutionSettings(use_cache=False, **options)
    return flow(task_id, block, function=module, execution=execution)


def run_free(side: str, url: str, task_id: int, *, boxes: int, on_advance: Any = None) -> dict[str, float]:
    """Run a function that costs nothing by our annotate_task() or the SDK's."""
    from benchmark_functions import free

    if side == "ours":
        from prefect_cvat import annotate_task
        from prefect_cvat import auto_annotation as aa

        class Bar:
            total = 0

            def update(self, frames: int) -> None:
                if on_advance is not None:
                    on_advance(frames)

        client = log_in(url)
        function = free.make(aa, boxes)
        return measured(lambda: annotate_task(client, task_id, function, use_cache=False, pbar=Bar()))
    import cvat_sdk.auto_annotation as sdk_aa
    from cvat_sdk.core.client import Client, Config

    sdk_client = Client(url, config=Config(cache_dir=Path(tempfile.mkdtemp())))
    sdk_client.login(("admin", "admin"))
    function = free.make(sdk_aa, boxes)
    return measured(lambda: sdk_aa.annotate_task(sdk_client, task_id, function))


CHILDREN = {
    "efficiency": efficiency_child,
    "memory": memory_child,
    "upload": upload_child,
    "prefect": prefect_child,
}

if __name__ == "__main__":
    main()
