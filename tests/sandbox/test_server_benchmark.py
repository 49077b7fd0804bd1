"""The benchmark on a slow sandbox runs, and reports its measurements."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "server.py"


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_a_row_is_measured_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results, plot = tmp_path / "server.json", tmp_path / "server.png"
    printed = run("--rows", "frames-100", "--rounds", 1, "--out", results)
    assert "frames-100" in printed
    [row] = json.loads(results.read_text())["rows"]
    ours, sdk = row["median"]["ours"], row["median"]["sdk"]
    # 2,000 shapes of 0.4 ms each, and some requests of 45 ms
    assert min(ours["wall"], sdk["wall"]) > 0.8
    assert sdk["requests"] >= 5
    assert row["runs"][0]["sdk"]["by_route"]["PATCH /api/tasks/ID/annotations?action=create"] == 1
    run("--draw", results, "--plot", plot)
    assert plot.read_bytes().startswith(b"\x89PNG")
