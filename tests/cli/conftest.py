"""The options that name a server and a function."""

import pathlib

import pytest

from cli.command_runs import FUNCTION

READS_NUMBERS = """
from clips import reader
spec, detect = reader().spec, reader().detect
"""


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture
def function(tmp_path):
    """Write a function to a file, and name it as options do."""

    def write(text):
        path = tmp_path / "a_function.py"
        path.write_text(text, encoding="utf-8")
        return ["--function-file", path]

    return write


@pytest.fixture
def function_file(tmp_path):
    path = tmp_path / "boxes.py"
    path.write_text(FUNCTION)
    return path


@pytest.fixture
def reading_file(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
    path = tmp_path / "reads_numbers.py"
    path.write_text(READS_NUMBERS)
    return path
