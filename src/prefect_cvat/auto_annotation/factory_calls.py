"""Calling the factories of functions: any exception becomes a `FunctionLoadError` with file and line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_type_hints

from prefect_cvat.auto_annotation.function_calls import is_of_function, where_raised
from prefect_cvat.exceptions import FunctionLoadError, PrefectCvatError
from prefect_cvat.extras import find_remedy
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import describe_error, one_line, shorten_error
from prefect_cvat.messages.suggestions import did_you_mean

__all__ = [
    "call_factory",
    "check_parameters",
    "is_needed",
    "load_error",
    "remedy",
    "takes",
    "takes_no_prompts",
]


def takes(create: Callable[..., Any], parameter: str) -> bool:
    """Whether a factory has a parameter of this name."""
    try:
        return parameter in inspect.signature(create).parameters
    except (TypeError, ValueError):  # it has no readable signature
        return False


def is_needed(create: Callable[..., Any], parameter: str) -> bool:
    """Whether a factory cannot be called without a parameter, which it has."""
    return inspect.signature(create).parameters[parameter].default is inspect.Parameter.empty


def check_parameters(create: Callable[..., Any], parameters: Mapping[str, Any], name: str) -> None:
    """Check that a factory can be called with these parameters.

    Raises:
        FunctionLoadError: It cannot; the message names the parameter and how the factory is called.
    """
    try:
        signature = inspect.signature(create)
        _bind(create, signature, parameters)
    except TypeError as error:
        for option in ("batch_size", "exemplars"):
            if f"unexpected keyword argument '{option}'" in str(error):
                raise FunctionLoadError(
                    f"function {name!r} takes no {argument(option)}; its create is called as"
                    f" create{signature}"
                ) from error
        if "argument 'prompts'" in str(error):
            raise takes_no_prompts(name) from error
        unknown = sorted(parameters.keys() - _known(create, parameters))
        suggestion = did_you_mean(unknown[0], _known(create, {})) if unknown else ""
        raise FunctionLoadError(
            f"function {name!r} does not take these parameters: {one_line(error)}{suggestion};"
            f" its create is called as create{signature}"
        ) from error
    except ValueError:
        pass  # no signature; the call raises the error


def _bind(create: Callable[..., Any], signature: inspect.Signature, parameters: Mapping[str, Any]) -> None:
    """Raise as a call with these parameters would, and for options that `Unpack` does not list."""
    signature.bind(**parameters)
    if unknown := sorted(parameters.keys() - _known(create, parameters)):
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")


def _known(create: Callable[..., Any], others: Iterable[str]) -> set[str]:
    """The names of the parameters that a factory takes.

    Args:
        create: The factory.
        others: Names that it takes too if it has `**options` of any name, which `Unpack` would list.
    """
    known: set[str] = set()
    for each in inspect.signature(create).parameters.values():
        if each.kind is not inspect.Parameter.VAR_KEYWORD:
            known.add(each.name)
        elif (options := _unpacked(create, each)) is not None:
            known.update(options)
        else:
            known.update(others)
    return known


def _unpacked(create: Callable[..., Any], options: inspect.Parameter) -> set[str] | None:
    """The names of `**options: Unpack[...]`; None without such an annotation that can be evaluated."""
    if not str(options.annotation).startswith("Unpack["):
        return None
    try:
        typed = get_args(get_type_hints(inspect.unwrap(create))[options.name])[0]
        return set(typed.__annotations__)
    except Exception:  # annotations may hold any code, such as names that only type checkers import
        return None


def takes_no_prompts(name: str) -> FunctionLoadError:
    """The error for prompts for a function that looks for nothing by words."""
    return FunctionLoadError(
        f"function {name!r} takes no {argument('prompts')}: it is not made for the labels of a task by words,"
        " as open_vocabulary_detection is"
    )


def call_factory(create: Callable[..., Any], parameters: Mapping[str, Any], name: str) -> Any:
    """Make a function.

    Args:
        create: Its factory.
        parameters: The arguments of the factory.
        name: The name of the function, for errors.

    Raises:
        FunctionLoadError: The factory failed.
        PrefectCvatError: The factory has raised it on purpose.
    """
    try:
        return create(**parameters)
    except PrefectCvatError:
        raise
    except BaseException as error:
        raise load_error(f"function {name!r} cannot be made", error) from shorten_error(error)


def load_error(what: str, error: BaseException) -> FunctionLoadError:
    """The error to raise for an error of a module or a factory, including `sys.exit`."""
    if not is_of_function(error):
        raise error
    return FunctionLoadError(f"{what}: {describe_error(error)} ({where_raised(error)}){remedy(error)}")


def remedy(error: BaseException) -> str:
    """What to do about an error, as the end of a message; or nothing."""
    found = find_remedy(error)
    return "" if found is None else f"; {found}"
