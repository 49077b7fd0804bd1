"""A hook of MkDocs: what the command line says of itself, in the place of a marker on its page."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

__all__ = ["on_page_markdown"]

MARKER = "<!-- reference of the command line -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference in the place of its marker."""
    return markdown.replace(MARKER, _reference()) if MARKER in markdown else markdown


def _reference() -> str:
    command = [
        sys.executable,
        "-m",
        "typer",
        "prefect_cvat.cli.main",
        "utils",
        "docs",
        "--name",
        "prefect-cvat",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (fixed words)
    text = text.replace("# `prefect-cvat`\n", "## Before the subcommand\n", 1)
    text = re.sub(r"^#+ `prefect-cvat (.+)`$", r"## \1", text, flags=re.MULTILINE)
    text = re.sub(r"^\* `--(install|show)-completion`.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\* `--help`.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^\*\*Commands\*\*:\n\n(\* .*\n)+", "", text, flags=re.MULTILINE
    )  # cut short, and in the contents
    text = text.replace("\b", "")
    return _fence_examples(text.replace("```console\n$ ", "```text\n"))


def _fence_examples(text: str) -> str:
    """Examples are indented lines in docstrings; Markdown would join them."""
    return re.sub(
        r"^Example:\n((?:  .*\n)+)",
        lambda match: f"```sh\n{re.sub('^  ', '', match[1], flags=re.MULTILINE)}```\n",
        text,
        flags=re.MULTILINE,
    )
