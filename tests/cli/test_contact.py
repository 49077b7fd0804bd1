"""Messages of the command line about servers that are missing or temporarily unavailable."""

import io
import logging
import sys
import time

import pytest

from command_line import run_command_text
from ports import free_port
from prefect_cvat.cli import run_output
from scripted_server import Answer, scripted_server


@pytest.fixture
def function_file(tmp_path):
    path = tmp_path / "boxes.py"
    path.write_text(
        "from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec\n"
        "spec = DetectionFunctionSpec(labels=[label_spec('car', 1)])\n"
        "def detect(context, image):\n"
        "    return []\n"
    )
    return path


def test_wrong_port_is_reported_from_the_second_attempt_and_ends_the_command_soon(function_file):
    port = free_port()
    started = time.monotonic()
    done = run_command_text(
        "--server-host", "127.0.0.1", "--server-port", port, "--access-token", "secret-token-value",
        "annotate", 1, "--function-file", function_file,
    )  # fmt: skip
    seconds = time.monotonic() - started
    assert done.returncode == 1
    *told, error = done.stderr.splitlines()
    assert len(told) == 4
    for number, line in enumerate(told, start=2):
        assert f"no server answers at http://127.0.0.1:{port} yet: Connection refused" in line
        assert f"attempt {number} follows in" in line
        assert len(line) < 200
    assert error.startswith(f"error: no server answers at http://127.0.0.1:{port}: Connection refused")
    assert "secret-token-value" not in done.stderr
    assert done.stdout == ""
    assert seconds < 40  # loading the libraries included


def test_temporary_server_failure_is_reported_on_stderr(function_file):
    away = Answer(502, b"<title>502 Bad Gateway</title>", {"Content-Type": "text/html"})
    gone = Answer(404, b'{"detail": "No Task matches the given query."}')
    with scripted_server(away, gone) as server:
        done = run_command_text(
            "--server-host",
            server.url,
            "--access-token",
            "x",
            "annotate",
            1,
            "--function-file",
            function_file,
        )
    line, error = done.stderr.splitlines()
    assert "was answered with 502" in line
    assert "attempt 2 follows in" in line
    assert error.startswith("error: there is no task 1")


def test_redirect_to_https_is_reported_with_the_correct_address(function_file):
    moved = Answer(308, b"", {"Location": "https://cvat.example.com/api/server/about"})
    with scripted_server(contact=moved) as server:
        done = run_command_text(
            "--server-host", server.url, "--auth", "alice:hunter2",
            "annotate", 1, "--function-file", function_file,
        )  # fmt: skip
        assert server.requests == []
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {server.url} redirects to https://cvat.example.com;")
    assert "--server-host" in line


def test_log_lines_do_not_break_the_progress_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with run_output.progress_bar("Annotating") as progress:
            progress.start(10)
            progress.advance(3)
            logging.getLogger("prefect_cvat.http.transport").warning("attempt 2 follows in 0.5 s")
            progress.advance(7)
    finally:
        logging.getLogger().removeHandler(handler)
    [line] = [line for line in terminal.getvalue().replace("\r", "\n").split("\n") if "attempt 2" in line]
    assert line.strip() == "attempt 2 follows in 0.5 s"
    assert "10/10" in terminal.getvalue()
