"""Runs the code blocks of a page of the documentation."""

from __future__ import annotations

import contextlib
import io
import json
import re
import textwrap
import time
import tomllib
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path

import yaml
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from docs.shell import Printed, Shell, starts_server
from prefect_cvat.cli.app import COMMANDS
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run

INFO = re.compile(r'(?P<language>\S*)(?: title="(?P<title>[^"]+)")?\n')


class Page:
    """A page. Its blocks run in order, in one namespace and in the current folder.

    `python` is executed. `sh` has commands, which must succeed, or a server. `text` is the output of the block before,
    where `...` matches anything. The stages and commands in a `drawing` must exist. `toml`, `json`, `yaml` and `ini` are parsed.
    Other languages are errors, and no block is skipped. A block with a title is a file for the blocks after it.

    Args:
        path: The page.
        shell: Runs its commands.
        instead: Replacements in the text, such as of addresses.

    Attributes:
        blocks: Number of blocks.
    """

    def __init__(self, path: Path, shell: Shell, instead: Mapping[str, str] | None = None) -> None:
        text = path.read_text(encoding="utf-8")
        for shown, real in (instead or {}).items():
            text = text.replace(shown, real)
        self._shell = shell
        self._printed: Printed | None = None
        self._document = Document(text, str(path))
        for region in self._blocks(self._document):
            self._document.add(region)
        self.blocks = len(list(self._document.examples()))

    def run(self) -> None:
        """Run all blocks.

        Raises:
            Exception: A block failed; a note names it.
        """
        server = False
        for example in self._document.examples():
            try:
                assert not server or _language(example) == "text", "a server goes before what it prints"
                server = _language(example) == "sh" and any(map(starts_server, example.parsed.splitlines()))
                example.evaluate()
            except Exception as error:
                error.add_note(f"in the block at {example.path}:{example.line}")
                raise
        assert not server, "a server goes before what it prints"

    def run_first(self, language: str) -> None:
        """Run the first block of a language."""
        next(each for each in self._document.examples() if _language(each) == language).evaluate()

    def _blocks(self, document: Document) -> Iterator[Region]:
        for region in RawFencedCodeBlockLexer(INFO)(document):
            region.parsed, region.evaluator = region.lexemes["source"], self._evaluate
            yield region

    def _evaluate(self, example: Example) -> None:
        language, title = _language(example), example.region.lexemes["title"]
        if title is not None:
            Path(title).write_text(example.parsed, encoding="utf-8")
        match language:
            case "python" if title is not None:
                compile(example.parsed, title, "exec")
            case "python":
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    PythonEvaluator()(example)
                self._printed = Printed(printed.getvalue)
            case "sh":
                self._printed = self._shell.run(example.parsed)
            case "text":
                _compare(example.parsed, self._printed)
            case "drawing":
                _check_names(example.parsed)
            case "toml":
                tomllib.loads(example.parsed)
            case "json":
                json.loads(example.parsed)
            case "yaml":
                yaml.safe_load(example.parsed)
            case "ini":
                ConfigParser(strict=False, interpolation=None).read_string(example.parsed)
            case _:
                raise ValueError(f"{example.path}:{example.line}: cannot run a block of {language!r}")


def _language(example: Example) -> str | None:
    return example.region.lexemes.get("language")


def _compare(shown: str, printed: Printed | None) -> None:
    assert printed is not None, "there is no block before this one that could print it"
    pattern = re.compile(".*?".join(map(re.escape, _trimmed(shown).split("..."))), re.DOTALL)
    while not printed.is_final() and not pattern.fullmatch(_trimmed(printed.read())):
        time.sleep(0.1)
    text = printed.read()
    assert pattern.fullmatch(_trimmed(text)), f"the page shows\n{shown}\nprinted is\n{text}"


def _check_names(drawing: str) -> None:
    commands = re.findall(r"prefect-cvat (\w+)", drawing)
    stages = re.findall(r"\b[a-z]+_[a-z]+\b", drawing)
    assert commands or stages, f"nothing in this drawing can be checked:\n{drawing}"
    unknown = set(commands) - set(COMMANDS)
    unknown |= {stage for stage in stages if not (hasattr(Run, stage) or hasattr(PlannedRun, stage))}
    assert not unknown, f"there is no {', '.join(sorted(unknown))}, which a drawing shows"


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in textwrap.dedent(text).strip().splitlines())
