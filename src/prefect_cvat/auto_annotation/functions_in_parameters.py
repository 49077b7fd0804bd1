"""Functions that others run, such as `tiled`, and their devices: named among the parameters of these."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect_cvat.auto_annotation.factory_calls import takes_no_prompts
from prefect_cvat.auto_annotation.function_calls import close_function
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.labels_for_factories import Prompts
from prefect_cvat.auto_annotation.loading import find_function, load_function, takes_parameter
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.messages.argument_names import argument

__all__ = ["devices_named_in", "functions_named_in", "load_with_prompts", "runs_others", "with_device"]

_RUN_OTHERS = frozenset({"ensemble", "tiled"})
"""Functions that pass parameters on to those that they run."""

_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")


def runs_others(name: str) -> bool:
    """Whether a function is one that runs others, and passes parameters on to them."""
    return name in _RUN_OTHERS


def functions_named_in(value: object) -> Iterator[str]:
    """The names of functions in the values of parameters, and in lists and mappings among them."""
    if isinstance(value, str):
        try:
            find_function(value)
        except FunctionLoadError:  # it is another text
            return
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from functions_named_in(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from functions_named_in(each)


def devices_named_in(value: object) -> Iterator[str]:
    """The devices that mappings name as `device`, as in `detector_options={"device": "cuda:1"}`.

    Other values of `device` are no devices: mappings of labels may have one of this name.
    """
    if isinstance(value, Mapping):
        for name, each in value.items():
            if _is_device(name, each):
                yield each
            else:
                yield from devices_named_in(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from devices_named_in(each)


def with_device(value: Any, device: str) -> Any:
    """The same value with another device in place of each that `devices_named_in` finds."""
    if isinstance(value, Mapping):
        return {
            name: device if _is_device(name, each) else with_device(each, device)
            for name, each in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [with_device(each, device) for each in value]
    return value


def _is_device(name: object, value: object) -> bool:
    is_named = isinstance(name, str) and name.rpartition(".")[2] == "device"
    return is_named and isinstance(value, str) and _DEVICE.fullmatch(value) is not None


def load_with_prompts(name: str, parameters: Mapping[str, Any], prompts: Prompts) -> FunctionForTask:
    """Load a function that looks for what prompts say; one that takes none is not loaded.

    Args:
        name: A name that `find_function` takes.
        parameters: The other arguments of its `create`.
        prompts: What to look for, by label.

    Raises:
        FunctionLoadError: It takes no prompts or cannot pass them on to one that it runs, there is no
            function of this name, it is not allowed, or it cannot be made.
    """
    if takes_parameter(name, "prompts"):
        create = importlib.import_module(find_function(name)).create
        return FunctionForTask(create, {**parameters, "prompts": prompts}, name=name)
    within = [each for each in functions_named_in(parameters) if takes_parameter(each, "prompts")]
    if not within:
        raise takes_no_prompts(name)
    if not any(takes_parameter(each, "task_labels") for each in within):
        raise FunctionLoadError(
            f"function {name!r} cannot pass {argument('prompts')} on to {within[0]!r}, whose create takes no"
            " task_labels; add that parameter to it, or set its own parameter instead:"
            " prompts=json:{...}, in an ensemble NAME.prompts=json:{...}"
        )
    function = load_function(name, parameters)
    if not isinstance(function, FunctionForTask) or not function.takes_prompts:
        close_function(function)
        raise takes_no_prompts(name)
    return function.changed(prompts=prompts)
