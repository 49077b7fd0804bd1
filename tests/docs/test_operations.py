"""docs/operations.md: its commands parse, and its table of settings is complete.

`tests/e2e/test_operations_page.py` runs the whole page, with a Prefect server.
"""

import re
import shlex
from pathlib import Path

import pytest

from prefect_cvat.cli.app import app
from prefect_cvat.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^prefect-cvat .*$", PAGE.replace("\\\n", " "), re.MULTILINE)


def test_there_are_commands():
    assert len(COMMANDS) == 8


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    words = shlex.split(command, comments=True)[1:]
    context = app.make_context("prefect-cvat", words)
    name, *rest = [*context._protected_args, *context.args]
    app.get_command(context, name).make_context(name, rest, parent=context)


def test_table_lists_all_settings():
    told = dict(re.findall(r"^\| `(PREFECT_CVAT_\w+)` \| [^|]+ \| (.*) \|$", PAGE, re.MULTILINE))
    assert told == {
        f"PREFECT_CVAT_{name.upper()}": field.description for name, field in Settings.model_fields.items()
    }


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", PAGE)
    assert len(pictures) == 3
    assert all((DOCS / picture).is_file() for picture in pictures)
