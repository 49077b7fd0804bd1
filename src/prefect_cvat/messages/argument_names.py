"""What a message calls an argument: as Python's callers write it, or as an option of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["argument", "arguments_as_options"]

_options: Mapping[str, str] | None = None
"""Options with other names than their arguments; None where messages name arguments as in Python."""


def argument(name: str, value: object = None) -> str:
    """What to call an argument in a message, alone or with the value that it has or should have.

    In Python `label_map` and `existing='keep'`; on the command line `--label-map` and `--existing keep`.

    Args:
        name: The argument in Python.
        value: Its value. True and False are left out on the command line, where a flag says them.
    """
    if _options is None:
        shown = value if value is None or isinstance(value, bool | int | float) else str(value)
        return name if value is None else f"{name}={shown!r}"
    option = _options.get(name) or f"--{name.replace('_', '-')}"
    return option if value is None or isinstance(value, bool) else f"{option} {value}"


@contextmanager
def arguments_as_options(named_otherwise: Mapping[str, str]) -> Iterator[None]:
    """Have messages speak of options of the command line, in all of this process.

    Args:
        named_otherwise: The options with other names than their arguments, by argument.
    """
    global _options
    before, _options = _options, named_otherwise
    try:
        yield
    finally:
        _options = before
