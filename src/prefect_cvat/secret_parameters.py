"""Parameters of functions whose values are secrets.

Prefect stores the parameters of flow runs, deployments and function blocks unencrypted. A parameter that is
written as `secret:NAME` refers to the Prefect block `secret/NAME`. Its value is read only in the process that
creates the function.
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
    """Replace references to secrets by their values.

    Raises:
        FunctionLoadError: The block does not exist, or its value is not a text.
    """
    return {
        name: _read(name, value) if isinstance(value, SecretReference) else value
        for name, value in parameters.items()
    }


@contextmanager
def secrets_hidden(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Remove the secrets among parameters from the message of a `FunctionLoadError`."""
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
            f" the Prefect server ({str(error).splitlines()[0]}); create it in Prefect's UI, Blocks, with"
            " the type Secret"
        ) from None
    assert isinstance(block, Secret)  # not a coroutine, since this function is not async
    value = block.value.get_secret_value()  # `get` would convert digits to a number
    if not isinstance(value, str):
        raise FunctionLoadError(
            f"parameter {parameter!r} is {reference}, and the block secret/{reference.name} holds"
            f" {type(value).__name__}, not text; save it with a text as its value"
        )
    return SecretText(value, reference)
