"""annotate_task against cvat-sdk's on a sandbox that is as slow as CVAT 2.73, with the number of requests.

Each side in a process of its own, in turns; the sandbox is in another. Where fetching is what takes time, a
bare fetch of the same chunks, four at a time, is the base. `again` is our second run, with nothing to add.

    python benchmarks/server.py [--rows NAME ...] [--quick] [--rounds 2] [--out FILE] [--plot FILE]
    python benchmarks/server.py --draw benchmarks/server.json --plot docs/images/benchmark-server.png

`--quick` took 13 minutes on two cores with much other work (load 10 to 17).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from server_rows import ROWS, Media, Row, create
from server_sides import run_side
from servers import log_in, sandbox

from prefect_cvat import Client
from prefect_cvat.sandbox import LIKE, Slowness

LONGEST_SECONDS = 600
"""A side that takes longer is ended, and its row is left out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="one round, without the rows that take long")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--plot", type=Path, help="a PNG file")
    parser.add_argument("--draw", type=Path, help="draw these results, and measure nothing")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, name, url, task_id = arguments.child
        print(json.dumps(run_side(side, ROWS[name], url, int(task_id))))
        return
    if arguments.draw:
        results = json.loads(arguments.draw.read_text())
    else:
        names = arguments.rows or [
            name for name, row in ROWS.items() if not (arguments.quick and row.is_long)
        ]
        results = measure(names, 1 if arguments.quick else arguments.rounds)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.plot:
        from server_plot import draw

        draw(results["rows"]).savefig(arguments.plot, dpi=120, bbox_inches="tight")


def measure(names: list[str], rounds: int) -> dict[str, Any]:
    """Measure rows, and print each when it is done."""
    started, load = time.monotonic(), os.getloadavg()
    print(f"{len(names)} rows, {rounds} rounds; load {load[0]:.1f}")
    print(HEAD)
    rows = []
    tasks: dict[Media, int] = {}
    with sandbox() as url:
        client = log_in(url)
        for name in names:
            row = ROWS[name]
            if row.media not in tasks:
                tasks[row.media] = create(client, row.media)
            bench = _Bench(name, row, client, url, tasks[row.media])
            try:
                runs = [bench.round(is_even=number % 2 == 0) for number in range(rounds)]
            except subprocess.TimeoutExpired as error:
                print(f"{name:<12} {error.cmd[3]} took more than {LONGEST_SECONDS} s", flush=True)
                continue
            rows.append({"name": name, "title": row.title, "runs": runs, "median": _medians(runs)})
            print(_line(rows[-1]), flush=True)
    took = time.monotonic() - started
    print(f"took {took / 60:.1f} minutes; load {os.getloadavg()[0]:.1f}")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load": [load[0], os.getloadavg()[0]],
        "seconds": round(took, 1),
        "slowness": LIKE["cvat-2.73"].model_dump(),
        "rows": rows,
    }


class _Bench:
    """The sides of a row, on one task."""

    def __init__(self, name: str, row: Row, client: Client, url: str, task_id: int) -> None:
        self._name = name
        self._row = row
        self._client = client
        self._url = url
        self._task_id = task_id
        link = {"round_trip_seconds": row.round_trip_seconds, "bytes_per_second": row.bytes_per_second}
        self._slowness = LIKE["cvat-2.73"].model_copy(update=link)

    def round(self, *, is_even: bool) -> dict[str, dict[str, Any]]:
        """Run each side once; what is run first alternates."""
        row = self._row
        groups = [["ours", "again"] if row.has_again else ["ours"]]
        groups += [["sdk"]] if row.has_sdk else []
        groups += [["bare"]] if row.has_bare else []
        results = {}
        for sides in groups if is_even else groups[::-1]:
            self._clear()
            with tempfile.TemporaryDirectory() as folder:
                for side in sides:
                    results[side] = self._run(side, folder)
        return results

    def _run(self, side: str, folder: str) -> dict[str, Any]:
        arguments = ["--child", side, self._name, self._url, str(self._task_id)]
        folders = {name: f"{folder}/{name}" for name in ("PREFECT_CVAT_CACHE_DIR", "PREFECT_CVAT_RUNS_DIR")}
        self._set(self._slowness)
        try:
            done = subprocess.run(
                [sys.executable, __file__, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=LONGEST_SECONDS,
                env=os.environ | folders,
            )
        finally:
            self._set(Slowness())
        if done.returncode:
            raise RuntimeError(f"{self._name}, {side} failed:\n{done.stderr[-3000:]}")
        expected = 0 if side == "bare" else self._row.media.frames * self._row.boxes
        found = len(self._client.task_annotations(self._task_id).shapes)
        if found != expected:
            raise RuntimeError(f"{self._name}, {side}: {found} shapes in place of {expected}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def _clear(self) -> None:
        """Delete the annotations; then the chunks are made anew, or all are there."""
        self._set(Slowness())
        path = f"{self._url}/api/tasks/{self._task_id}/annotations"
        urllib3.request("DELETE", path, headers=urllib3.make_headers(basic_auth="admin:admin"))
        if not self._row.are_chunks_made:
            urllib3.request("DELETE", f"{self._url}/sandbox/chunks")
            return
        for number in range(-(-self._row.media.frames // self._row.media.chunk_size)):
            with tempfile.TemporaryFile() as file:
                self._client.chunk(self._task_id, number, file)

    def _set(self, slowness: Slowness) -> None:
        urllib3.request("PUT", f"{self._url}/sandbox/slowness", json=slowness.model_dump())


FIGURES = ("wall", "cpu", "peak_mb", "requests")


def _medians(runs: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    return {
        side: {figure: statistics.median(run[side][figure] for run in runs) for figure in FIGURES}
        for side in runs[0]
    }


HEAD = f"""{"row":<12} {"seconds:":>9}{"":30} {"ours over":>10}{"":12} {"requests:":>9}{"":12} {"CPU s:":>7}
{"":12} {"ours":>9} {"again":>9} {"sdk":>9} {"bare":>9} {"sdk":>10} {"bare":>5} {"first":>5}\
 {"ours":>9} {"again":>5} {"sdk":>5} {"ours":>7} {"sdk":>5}"""


def _line(row: dict[str, Any]) -> str:
    median = row["median"]

    def value(side: str, figure: str, form: str) -> str:
        return format(median[side][figure], form) if side in median else "-"

    def ratio(side: str, other: str) -> str:
        if not {side, other} <= median.keys():
            return "-"
        return f"{median[side]['wall'] / median[other]['wall']:.2f}"

    walls = " ".join(f"{value(side, 'wall', '.2f'):>9}" for side in ("ours", "again", "sdk", "bare"))
    ratios = f"{ratio('ours', 'sdk'):>10} {ratio('ours', 'bare'):>5} {ratio('again', 'ours'):>5}"
    requests = [value(side, "requests", ".0f") for side in ("ours", "again", "sdk")]
    cpu = [value(side, "cpu", ".1f") for side in ("ours", "sdk")]
    return (
        f"{row['name']:<12} {walls} {ratios} {requests[0]:>9} {requests[1]:>5} {requests[2]:>5}"
        f" {cpu[0]:>7} {cpu[1]:>5}"
    )


if __name__ == "__main__":
    main()
