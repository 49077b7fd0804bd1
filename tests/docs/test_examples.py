"""The examples in help texts and docstrings run, on a task with fewer labels than the detector."""

import re
import shlex
from pathlib import Path

import pytest

from command_line import run_command_text
from ordinary_tasks import create_clip, create_photograph
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.cli.app import app

SOURCE = Path(__file__).parents[2] / "src" / "prefect_cvat"
SERVER = "cvat.example.com"

pytestmark = pytest.mark.filterwarnings("default")


def examples_of_help():
    """Examples that use a built-in function on a task."""
    for command in (app.get_command(None, name) for name in app.list_commands(None)):
        for line in (command.help or "").replace("\\\n", " ").splitlines():
            if line.strip().startswith("prefect-cvat ") and " 123 --function " in line:
                yield " ".join(line.split())


def examples_of_docstrings():
    for path in sorted(SOURCE.rglob("*.py")):
        for block in re.findall(r"^ +```python\n(.*?)^ +```$", path.read_text(), re.MULTILINE | re.DOTALL):
            if "client, 123" in " ".join(block.split()) or ", 123," in block:
                yield pytest.param(re.sub("^        ", "", block, flags=re.MULTILINE), id=path.stem)


def test_there_are_examples():
    assert len(list(examples_of_help())) >= 6
    assert len(list(examples_of_docstrings())) >= 2


@pytest.mark.parametrize("example", list(examples_of_help()))
def test_example_of_help_text_runs(example, sandbox, client, tmp_path, monkeypatch, word_model_cache):
    monkeypatch.setenv("HF_HUB_CACHE", str(word_model_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make = create_clip if " track " in example else create_photograph
    instead = {SERVER: sandbox.url, "alice": f"{sandbox.user}:{sandbox.password}", "123": str(make(client))}
    monkeypatch.chdir(tmp_path)
    done = run_command_text(*(instead.get(word, word) for word in shlex.split(example)[1:]))
    if " prompts " in example:  # the model has random weights, so no wording is worth anything
        assert "no label of the task can be found by words" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", list(examples_of_docstrings()))
def test_example_of_docstring_runs(code, sandbox, client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task_id = create_photograph(client)
    if (
        "prefect_cvat.corrections" in code or "prefect_cvat.learning" in code
    ):  # there is something to correct after a run
        annotate_task(client, task_id, nanodet_detection.create(), allow_unmatched_labels=True)
    token = client.json("POST", "/api/auth/access_tokens", body={"name": "example"})["value"]
    for before, after in (
        ("123", str(task_id)),  # first: a token may have these digits, too
        (f"https://{SERVER}", sandbox.url),
        ('access_token="..."', f"access_token={token!r}"),
    ):
        code = code.replace(before, after)
    exec(compile(code, "example", "exec"), {})
