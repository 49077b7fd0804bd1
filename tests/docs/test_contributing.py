"""CONTRIBUTING.md: its examples run, and its commands of make exist."""

import re
from pathlib import Path

import pytest

from docs.pages import Page
from prefect_cvat.cli import commands
from prefect_cvat.cli.app import COMMANDS
from prefect_cvat.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8")

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def shapes_command(monkeypatch, tmp_path):
    """The command that the page adds: its module is written to the folder of the page's shell."""
    monkeypatch.setitem(COMMANDS, "shapes", "Count the shapes of a task.")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path / "here")])


@pytest.mark.usefixtures("prefect_server", "shapes_command")
def test_examples_run(shell):
    with Sandbox() as server:
        instead = {"127.0.0.1:8080": server.url.removeprefix("http://")}
        Page(ROOT / "docs" / "index.md", shell, instead).run_first("python")  # makes task 1
        page = Page(PAGE, shell, instead)
        assert page.blocks == len(re.findall("^```", TEXT, re.MULTILINE)) / 2
        page.run()


def test_commands_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`make (\w+)`", TEXT))
    assert {"check", "test"} < named
    assert named <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_linked_files_exist():
    links = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    assert links
    assert all((ROOT / link).exists() for link in links)
