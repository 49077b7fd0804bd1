"""The options that name a server and a function."""

import pytest


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
