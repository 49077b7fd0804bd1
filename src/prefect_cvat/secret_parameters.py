"""Parameters of functions that Prefect keeps as secrets.

Prefect stores the parameters of flow runs, deployments and blocks of functions in clear, for all who may see
them. One that is written as `secret:NAME` is the name of a Prefect block `secret/NAME`; its value is taken
from there in the process that makes the function, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.blocks.system import Secret

from prefect_cvat.auto_annotation.secret_text import SecretReference, SecretText
from prefect_cvat.exceptions import FunctionLoadError

__all__ = ["secrets_hidden", "with_secrets"]

HIDDEN = "********"


def with_secrets(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with secrets in the place of references to them.

    Raises:
        FunctionLoadError: There is no such block, or it holds something else than text.
    """
    return {
        name: _read(name, value) if isinstance(value, SecretReference) else value
        for name, value in parameters.items()
    }


@contextmanager
def secrets_hidden(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Keep secrets among parameters out of the message of an error in making the function."""
    try:
        yield
    except FunctionLoadError as error:
        message = str(error)
        for value in parameters.values():
            if isinstance(value, SecretText) and value:
                message = message.replace(str(value), HIDDEN)
        if message == str(error):
            raise
        raise FunctionLoadError(message) from None


def _read(parameter: str, reference: SecretReference) -> SecretText:
    try:
        block = Secret.load(reference.name)
    except ValueError as error:
        raise FunctionLoadError(
            f"parameter {parameter!r} is {reference}, and there is no usable block secret/{reference.name} on"
            f" the Prefect server ({str(error).splitlines()[0]}); make it, of type Secret, in Prefect's UI"
            " under Blocks"
        ) from None
    assert isinstance(block, Secret)  # only coroutines get a coroutine
    value = block.value.get_secret_value()  # `get` would make a number of digits alone
    if not isinstance(value, str):
        raise FunctionLoadError(
            f"parameter {parameter!r} is {reference}, and the block secret/{reference.name} holds"
            f" {type(value).__name__}, not text; save it with a text as its value"
        )
    return SecretText(value, reference)
