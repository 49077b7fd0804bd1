"""Every command and code block of the README is run, against a sandbox in place of cvat.example.com."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import run_command_text
from ordinary_tasks import create_clip, create_photograph
from prefect_cvat.auto_annotation import label_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [
    line
    for language, code in BLOCKS
    if language == "sh"
    for line in code.splitlines()
    if line.startswith("prefect-cvat ")
]

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def task(sandbox):
    from prefect_cvat import Client

    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        token = client._transport.json("POST", "/api/auth/access_tokens", body={"name": "readme"})["value"]
        yield create_photograph(client), token, client


@pytest.fixture
def commands_of_make(tmp_path):
    """The commands that make would run, with the setup if needed; really running `make test` would run this test."""
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)

    def run(command: str) -> list[str]:
        done = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env={**os.environ, "MAKEFLAGS": "--dry-run"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return re.findall(r"^(?:\w+=\S+ )*\.venv/bin/(.*)$", done.stdout, re.MULTILINE)

    return run


@pytest.fixture
def clip(task):
    """A video task with manual boxes on its first frame."""
    _, _, client = task
    return create_clip(client)


@pytest.fixture
def boxes(task):
    """A task with a box around something, of a label that takes any type."""
    _, _, client = task
    created = client.create_task("boxes", [label_spec("person", None), label_spec("car", None)])
    client.upload_images(created.id, {"photo.png": _white()})
    [job], labels = client.jobs(created.id), client.labels(created.id)
    box = {"type": "rectangle", "frame": 0, "label_id": labels[0].id, "points": [8, 8, 22, 22]}
    client.create_job_annotations(job.id, {"shapes": [box]})
    return created.id


def test_every_code_block_is_tested():
    assert README.count("```") + README.count("~~~") == 2 * len(BLOCKS)
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert (len(PYTHON), len(COMMANDS)) == (3, 9)
    others = [
        line
        for language, code in BLOCKS
        if language == "sh"
        for line in code.splitlines()
        if line not in COMMANDS
    ]
    assert [line.partition("#")[0].strip() for line in others] == [
        "make demo",
        "make test",
        "pip install 'prefect-cvat[pytorch,video]'",
        "export CVAT_ACCESS_TOKEN=...",
    ]


def test_make_demo_is_the_command_of_test_demo(commands_of_make):
    *set_up, last = commands_of_make("make demo")
    assert last == "prefect-cvat demo"
    assert all(command.startswith("pip install ") for command in set_up)


def test_make_test_checks_all_and_runs_these_tests(commands_of_make):
    commands = commands_of_make("make test")
    assert {"ruff check .", "ruff format --check .", "mypy -p prefect_cvat", "lint-imports"} < set(commands)
    assert commands[-1].startswith("pytest")


def test_the_code_runs(sandbox, task):
    task_id, token, client = task
    names = {}
    for code in PYTHON:
        code = (
            code.replace('"https://cvat.example.com"', repr(sandbox.url))
            .replace('"cvat.example.com"', repr(sandbox.url))
            .replace('("username", "password")', repr((sandbox.user, sandbox.password)))
            .replace('access_token="..."', f"access_token={token!r}")
            .replace("task_id=123", f"task_id={task_id}")
        )
        exec(compile(code, "README.md", "exec"), names)
    assert names["report"].labels == {"person": 1}
    from prefect_cvat import annotate_task

    spots = client.create_task("spots", [label_spec("spot", None)])
    client.upload_images(spots.id, {"spot.png": _white()})
    assert annotate_task(client, spots.id, names["BrightSpot"]()).labels == {"spot": 1}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(sandbox, task, clip, boxes, tmp_path, monkeypatch, command):
    task_id, token, _ = task
    if " track " in command:
        task_id = clip
    if " refine " in command or " evaluate " in command:
        task_id = boxes
    for name in ("photo1.jpg", "photo2.jpg"):
        (tmp_path / name).write_bytes(_white())
    (tmp_path / "my_function.py").write_text(
        "from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle\n"
        "class Function:\n"
        "    spec = DetectionFunctionSpec(labels=[label_spec('person', 1)])\n"
        "    def __init__(self, weights: str): self.weights = weights\n"
        "    def detect(self, context, image): return [rectangle(1, [0, 0, 9, 9])]\n"
        "create = Function\n"
    )
    arguments = shlex.split(command)[1:]
    arguments = [{"cvat.example.com": sandbox.url, "123": str(task_id)}.get(word, word) for word in arguments]
    monkeypatch.chdir(tmp_path)
    done = run_command_text(*arguments, CVAT_ACCESS_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def _white() -> bytes:
    import io

    import PIL.Image

    image = PIL.Image.new("RGB", (64, 48))
    image.paste((255, 255, 255), (10, 10, 20, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
