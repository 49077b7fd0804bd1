"""Several functions with names, and with their parameters, from the parameters of one that wraps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.auto_annotation import DetectionFunction
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask, wait_for_labels
from prefect_cvat.auto_annotation.functions_in_parameters import runs_others
from prefect_cvat.auto_annotation.loading import load_function, takes_parameter

__all__ = ["named_functions"]


def named_functions(
    functions: Mapping[str, DetectionFunction | str] | Sequence[DetectionFunction | str] | None,
    named: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> dict[str, DetectionFunction]:
    """Make functions, and name them.

    Args:
        functions: Functions or names of functions, by names of the caller's choice or in a sequence.
        named: More of them by name, and as `NAME.PARAMETER` the parameters of one given by its name.
        shared: Parameters of all functions given by their names that take them and have none of their own.

    Raises:
        TypeError: Something is no function, or a parameter belongs to none that is given by its name.
        ValueError: There are fewer than two functions.
        FunctionLoadError: There is no function of a name, or it cannot be made.
    """
    given: dict[str, Any] = {}
    if isinstance(functions, Mapping):
        given.update(functions)
    elif functions is not None:
        given.update({f"function{number}": each for number, each in enumerate(functions, 1)})
    given.update({name: value for name, value in named.items() if "." not in name})
    given = {name: wait_for_labels(value) for name, value in given.items()}
    for name, value in given.items():
        if not isinstance(value, str | FunctionForTask) and not hasattr(value, "spec"):
            raise TypeError(
                f"{name} is neither a setting of an ensemble nor a function or the name of one, but {value!r}"
            )
    options: dict[str, dict[str, Any]] = {name: {} for name in given}
    for name, value in named.items():
        owner, dot, option = name.partition(".")
        if not dot:
            continue
        if not isinstance(given.get(owner), str):
            raise TypeError(
                f"{name} belongs to no function that is given by its name; there are"
                f" {', '.join(given) or 'none'}"
            )
        options[owner][option] = value
    if len(given) < 2:
        raise ValueError(
            f"an ensemble is made of two or more functions, not {len(given)}; name them, as in -p"
            " one=str:nanodet_detection -p two=str:onnx_detection -p two.model=str:FILE"
        )
    return {
        name: load_function(each, {**_taken(each, shared), **options[name]})
        if isinstance(each, str)
        else each
        for name, each in given.items()
    }


def _taken(function: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in shared.items()
        if runs_others(function) or takes_parameter(function, name)
    }
