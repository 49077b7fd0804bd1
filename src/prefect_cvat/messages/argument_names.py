"""Names of arguments in messages: as in Python, or as options of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["argument", "arguments_as_options"]

_options: Mapping[str, str] | None = None
"""Options by argument, where their names differ; None if messages name arguments as in Python."""


def argument(name: str, value: object = None) -> str:
    """Format an argument for a message, with or without a value.

    In Python `label_map` and `existing='keep'`; on the command line `--label-map` and `--existing keep`.

    Args:
        name: The argument in Python.
        value: Its value. Booleans are left out on the command line, where they are flags.
    """
    if _options is None:
        shown = value if value is None or isinstance(value, bool | int | float) else str(value)
        return name if value is None else f"{name}={shown!r}"
    option = _options.get(name) or f"--{name.replace('_', '-')}"
    return option if value is None or isinstance(value, bool) else f"{option} {value}"


@contextmanager
def arguments_as_options(other_names: Mapping[str, str]) -> Iterator[None]:
    """Let messages of this process name arguments as options of the command line.

    Args:
        other_names: Options by argument, where their names differ.
    """
    global _options
    before, _options = _options, other_names
    try:
        yield
    finally:
        _options = before
