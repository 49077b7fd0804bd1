"""A hook of MkDocs: the options as their models define them, and what the command line says of itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click

__all__ = ["on_page_markdown"]

COMMANDS = "<!-- reference of the command line -->"
OPTIONS = re.compile(r"<!-- options: (\w+\.\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the references in the place of their markers."""
    if COMMANDS in markdown:
        from prefect_cvat.cli.app import app

        markdown = markdown.replace(COMMANDS, "\n".join(_commands(app, "prefect-cvat")))
    return OPTIONS.sub(lambda marker: _table(marker[1]), markdown)


def _commands(command: click.Command, path: str) -> Iterator[str]:
    """The help of a command and of its commands, each under a heading."""
    context = click.Context(command, info_name=path, terminal_width=100)
    heading = path.removeprefix("prefect-cvat").strip() or "Before the command"
    yield f"## {heading}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _commands(inner, f"{path} {name}")


def _table(place: str) -> str:
    """The options of a model, such as `run_options.Options`, as a table."""
    from importlib import import_module

    module, _, name = place.partition(".")
    model = getattr(import_module(f"prefect_cvat.options.{module}"), name)
    rows = ["| option | default | title in the form | |", "|---|---|---|---|"]
    titles = model.titles()
    for option, field in model.model_fields.items():
        if not field.exclude:
            default = getattr(field.default, "value", field.default)
            rows.append(f"| `{option}` | `{default!r}` | {titles[option]} | {field.description} |")
    return f"{inspect.getdoc(model)}\n\n" + "\n".join(rows)
