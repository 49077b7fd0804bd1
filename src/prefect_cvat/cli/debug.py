"""The option `--debug`, before or after a command."""

from __future__ import annotations

import logging

import click

__all__ = ["debug_option", "shows_tracebacks"]

_LOGGER = logging.getLogger("prefect_cvat")


def debug_option(*, hidden: bool = False) -> click.Option:
    """The option, for a command."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        hidden=hidden,
        callback=_set_level,
        help="Show log messages and tracebacks; also after the command.",
    )


def shows_tracebacks() -> bool:
    """Whether `--debug` was given."""
    return _LOGGER.isEnabledFor(logging.DEBUG)


def _set_level(_context: click.Context, _option: click.Parameter, is_on: bool) -> None:
    if is_on:
        _LOGGER.setLevel(logging.DEBUG)
