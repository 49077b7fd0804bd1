"""docs/operations.md: its code runs, its commands are taken, its table is that of the settings."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr

from pictures import picture
from prefect_cvat.cli import app
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.demo import coco_labels
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
OURS = [line for line in COMMANDS if line.startswith("prefect-cvat ")]

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]


def test_there_is_no_block_that_is_not_looked_at():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert (len(PYTHON), len(OURS)) == (3, 6)
    others = {line.split()[0] for line in COMMANDS if line not in OURS}
    assert others == {"pip", "export", "prefect"}  # the last are run by tests/e2e


@pytest.mark.parametrize("command", OURS)
def test_the_command_line_takes_the_commands(command):
    group = typer.main.get_command(app)
    words = shlex.split(command, comments=True)[1:]
    context = group.make_context("prefect-cvat", words)
    name, *rest = [*context._protected_args, *context.args]
    group.get_command(context, name).make_context(name, rest, parent=context)


def test_the_code_runs(sandbox, client):
    CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)).save(
        "main", overwrite=True
    )
    labels = [label.model_dump(mode="json", exclude_none=True) for label in coco_labels()]
    project = client.json("POST", "/api/projects", body={"name": "streets", "labels": labels})["id"]
    task = client.create_task("night-1", [], project_id=project)
    client.upload_images(task.id, {"dark.png": picture()})

    block, annotate, sensor = (code.replace("project_id=7", f"project_id={project}") for code in PYTHON)
    exec(compile(block, "operations.md", "exec"), {})
    assert CvatFunction.load("street").label_map == {"truck": "car", "traffic light": None}
    names = {}
    exec(compile(annotate, "operations.md", "exec"), names)
    assert names["report"].completed == [f"task {task.id}"]
    exec(compile(sensor, "operations.md", "exec"), {"__name__": "operations"})


def test_the_table_of_settings_is_that_of_the_settings():
    told = dict(re.findall(r"^\| `(PREFECT_CVAT_\w+)` \| [^|]+ \| (.*) \|$", PAGE, re.MULTILINE))
    assert told == {
        f"PREFECT_CVAT_{name.upper()}": field.description for name, field in Settings.model_fields.items()
    }


def test_the_pictures_are_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", PAGE)
    assert len(pictures) == 3
    assert all((DOCS / picture).is_file() for picture in pictures)
