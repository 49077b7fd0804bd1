"""Names of options in messages: as given in Python, on the command line, or in Prefect's form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["argument", "arguments_as_options", "arguments_as_titles"]

_flags: Mapping[str, str] | None = None
"""Options of the command line, by name; None where no command runs. A process runs one command."""

_titles: ContextVar[Mapping[str, str] | None] = ContextVar("titles", default=None)
"""Titles in the form, by name; None outside of a flow run. A process may execute several runs."""


def argument(name: str, value: object = None) -> str:
    """The name of an option for a message, optionally with a value.

    In Python `label_map` and `existing='keep'`; on the command line `--label-map` and `--existing keep`; in
    Prefect's form `'Label map'` and `'Existing annotations' keep`.

    Args:
        name: The option in Python.
        value: Its value. True and False are left out where a flag or a check box says them.
    """
    if (titles := _titles.get()) is not None and name in titles:
        given = f"'{titles[name]}'"
    elif _flags is not None:
        given = _flags.get(name) or f"--{name.replace('_', '-')}"
    else:
        shown = value if value is None or isinstance(value, bool | int | float) else str(value)
        return name if value is None else f"{name}={shown!r}"
    return given if value is None or isinstance(value, bool) else f"{given} {value}"


@contextmanager
def arguments_as_options(flags: Mapping[str, str]) -> Iterator[None]:
    """Name options as on the command line, in all of this process.

    Args:
        flags: The options by name, where they are not the name with dashes.
    """
    global _flags
    before, _flags = _flags, flags
    try:
        yield
    finally:
        _flags = before


@contextmanager
def arguments_as_titles(titles: Mapping[str, str]) -> Iterator[None]:
    """Name options as in Prefect's form, in this context and those that are copied from it.

    Args:
        titles: The titles of the options by name.
    """
    before = _titles.set(titles)
    try:
        yield
    finally:
        _titles.reset(before)
