"""The code blocks of a page of the documentation, and what it means to run them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest import SkipTest, mock

import yaml
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from prefect_cvat import cli

SANDBOX = "127.0.0.1:8080"
"""Where the pages say that the sandbox is."""

INFO = re.compile(r'(?P<language>\S*)(?: title="(?P<title>[^"]+)")?\n')


class Page:
    """A page whose blocks are run in order, in one namespace and in the current folder.

    `python` is executed. `sh` are commands of prefect-cvat, which must succeed. `text` is what the block before
    has printed, `...` standing for anything. `toml`, `json` and `yaml` are parsed, and there is nothing else. A
    block with a title is a file, for the blocks after it. A block behind `<!-- skip: next "reason" -->` is not
    run, nor may its output be shown without being skipped.

    Args:
        path: The page.
        address: Host and port of the sandbox that takes the place of the one that the page speaks of.

    Attributes:
        skipped: Why blocks are not run, by line.
    """

    def __init__(self, path: Path, address: str) -> None:
        self.skipped: dict[int, str] = {}
        self._printed: str | None = None
        self._document = Document(path.read_text(encoding="utf-8").replace(SANDBOX, address), str(path))
        for parser in (self._blocks, SkipParser()):
            for region in parser(self._document):
                self._document.add(region)

    def run(self) -> None:
        """Run all blocks.

        Raises:
            Exception: One failed; a note says which.
        """
        for example in self._document.examples():
            try:
                example.evaluate()
            except SkipTest as reason:
                self.skipped[example.line] = str(reason)
                self._printed = None
            except Exception as error:
                error.add_note(f"in the block at {example.path}:{example.line}")
                raise

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
                self._printed = printed.getvalue()
            case "sh":
                self._printed = "".join(map(_run_command, _commands(example.parsed)))
            case "text":
                _compare(example.parsed, self._printed)
            case "toml":
                tomllib.loads(example.parsed)
            case "json":
                json.loads(example.parsed)
            case "yaml":
                yaml.safe_load(example.parsed)
            case _:
                raise ValueError(f"{example.path}:{example.line}: what is a block of {language!r}?")


def _language(example: Example) -> str | None:
    return example.region.lexemes.get("language")


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def _run_command(words: list[str]) -> str:
    """Run a command of prefect-cvat in this process, where all is imported; return what it prints."""
    assert words[0] == "prefect-cvat", f"only prefect-cvat is run, not {shlex.join(words)!r}"
    said, code = io.StringIO(), None
    with (
        mock.patch("sys.argv", words),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(said),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    assert not code, f"{shlex.join(words)!r} ended with {code}: {said.getvalue()}"
    return printed.getvalue()


def _compare(shown: str, printed: str | None) -> None:
    assert printed is not None, "there is no block before this one that was run and could have printed it"
    pattern = ".*?".join(map(re.escape, _trimmed(shown).split("...")))
    assert re.fullmatch(pattern, _trimmed(printed), re.DOTALL), (
        f"the page shows\n{shown}\nprinted is\n{printed}"
    )


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
