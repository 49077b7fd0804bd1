"""Finds and creates auto-annotation functions: built-ins, modules, files."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from prefect_cvat.auto_annotation.factory_calls import (
    call_factory,
    check_parameters,
    load_error,
    remedy,
    takes,
    takes_no_prompts,
)
from prefect_cvat.auto_annotation.function_calls import place_of, read_spec
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.secret_text import SecretReference
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError, PrefectCvatError
from prefect_cvat.extras import install_command
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import shorten_error
from prefect_cvat.settings import current_settings

__all__ = [
    "builtin_functions",
    "find_function",
    "function_names",
    "import_builtin",
    "load_function",
    "load_function_file",
    "load_function_module",
    "parse_parameter",
    "parse_parameters",
    "takes_parameter",
]

BUILTINS = "prefect_cvat.auto_annotation.functions"
ENTRY_POINT_GROUP = "prefect_cvat.functions"
ALLOWED_MODULES = "PREFECT_CVAT_FUNCTION_MODULES"

_PATH = re.compile(r"[/\\]|\.py$")


def builtin_functions() -> dict[str, str | None]:
    """The names of the functions that come with this package, each with the extra that it needs."""
    extras: dict[str, str | None] = importlib.import_module(BUILTINS).EXTRAS
    return extras


def function_names() -> list[str]:
    """The names of the functions that come with this package, and of those that packages have registered."""
    return [*builtin_functions(), *sorted(_registered_functions().keys() - builtin_functions().keys())]


def import_builtin(name: str) -> ModuleType:
    """Import the module of a function that comes with this package.

    Raises:
        FunctionLoadError: A library is missing; the message says how to install it.
    """
    return _import(f"{BUILTINS}.{name}")


def load_function(name: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Create a function by its name. Only functions on an allow-list: the Prefect UI uses this, too.

    Args:
        name: A name that `find_function` takes.
        parameters: The arguments of its `create`.

    Raises:
        FunctionLoadError: There is no function of this name, it is not allowed, or it cannot be created.
        BadFunctionError: It has no `spec`.
    """
    return _make(_import(find_function(name)), name, parameters)


def find_function(name: str) -> str:
    """The module of a function, by its name; it is not imported.

    Args:
        name: A built-in, such as `nanodet_detection`; or a name that an installed package has registered
            in the entry point group `prefect_cvat.functions`; or a module under one of the prefixes in the
            environment variable `PREFECT_CVAT_FUNCTION_MODULES` (separated by commas).

    Raises:
        FunctionLoadError: There is no function of this name, or it is not allowed.
    """
    builtins = builtin_functions()
    if name in builtins:
        return f"{BUILTINS}.{name}"
    registered = _registered_functions()
    if name in registered:
        return registered[name]
    if _PATH.search(name):
        raise FunctionLoadError(
            f"{name!r} is a path; a function is loaded by its name here: a built-in, a registered one, or a"
            f" module under a prefix that the environment variable {ALLOWED_MODULES} allows"
        )
    if _is_allowed(name):
        return name
    if "." in name:
        raise FunctionLoadError(
            f"module {name!r} is not allowed as a function here; whoever runs this process can allow it"
            f" by a prefix in the environment variable {ALLOWED_MODULES}"
        )
    raise FunctionLoadError(
        f"there is no function {name!r}; there are {', '.join(function_names())}, and modules"
        f" under a prefix in the environment variable {ALLOWED_MODULES}"
    )


@cache
def _registered_functions() -> dict[str, str]:
    """The modules of the functions that installed packages have registered, by their names."""
    return {entry.name: entry.module for entry in entry_points(group=ENTRY_POINT_GROUP)}


def takes_parameter(name: str, parameter: str) -> bool:
    """Whether the `create` of a function has a parameter of this name.

    Raises:
        FunctionLoadError: There is no function of this name, it is not allowed, or it cannot be imported.
    """
    create = getattr(_import(find_function(name)), "create", None)
    return create is not None and takes(create, parameter)


def _is_allowed(module: str) -> bool:
    return any(
        module == prefix or module.startswith(f"{prefix}.") for prefix in current_settings().function_modules
    )


def load_function_module(module: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Load a module that is a function, or create one with its `create`.

    Args:
        module: The name of the module.
        parameters: The arguments of its `create`.

    Raises:
        FunctionLoadError: The module cannot be imported, or the function cannot be made.
        BadFunctionError: It has no `spec`.
    """
    return _make(_import(module), module, parameters)


def load_function_file(path: Path | str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Load a Python file that is a function, or create one with its `create`.

    Raises:
        FunctionLoadError: The file cannot be run, or the function cannot be made.
        BadFunctionError: It has no `spec`.
    """
    path = Path(path)
    try:
        is_there = path.is_file()
    except OSError as error:
        raise FunctionLoadError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if not is_there:
        raise FunctionLoadError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(_module_name(path), path)
    if spec is None or spec.loader is None:
        raise FunctionLoadError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickle look for the module of a class here
    sys.modules[spec.name] = module
    # as for a script, modules next to it can be imported, but do not replace others
    if (folder := str(path.parent.absolute())) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise load_error(f"{str(path)!r} cannot be run", error) from shorten_error(error)
    return _make(module, str(path), parameters)


def _module_name(path: Path) -> str:
    """`__cvat_function__`, with a number if that is the module of another file in this process."""
    number = 1
    while True:
        name = "__cvat_function__" if number == 1 else f"__cvat_function_{number}__"
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or file == str(path.absolute()):
            return name
        number += 1


def parse_parameter(text: str) -> tuple[str, Any]:
    """Parse a parameter `name=type:value`, with type int, float, str, bool, json or secret.

    Raises:
        ValueError: It has another form.
    """
    name, equals, typed_value = text.partition("=")
    if not equals or not name:
        raise ValueError(
            f"{text!r} has no value; write it as name=type:value, such as score_threshold=float:0.3"
        )
    return name, _parse_value(typed_value, text)


def parse_parameters(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Parse parameters with values `type:value`, see `parse_parameter`.

    `secret:NAME` stays a reference, see `prefect_cvat.secret_parameters`.

    Raises:
        ValueError: A value has another form.
    """
    return {name: _parse_value(value, f"{name}={value}") for name, value in parameters.items()}


def _parse_value(typed_value: str, text: str) -> Any:
    type_name, colon, value = typed_value.partition(":")
    if not colon:
        raise ValueError(
            f"{text!r} has no type; write it as name=type:value, such as score_threshold=float:0.3"
        )
    try:
        match type_name:
            case "int":
                return int(value)
            case "float":
                return float(value)
            case "str":
                return value
            case "json":
                return json.loads(value)
            case "bool":
                return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                    value.lower()
                ]
            case "secret" if value:
                return SecretReference(value)
    except (ValueError, KeyError):
        raise ValueError(f"{text!r}: {value!r} is not a {type_name}") from None
    if type_name == "secret":
        raise ValueError(
            f"{text!r} names no block; write it as name=secret:NAME for the Prefect block secret/NAME"
        )
    raise ValueError(
        f"{text!r} has the unknown type {type_name!r}; there are int, float, str, bool, json and secret"
    )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise FunctionLoadError(f"there is no module {name!r}") from error
        package, _, function = name.rpartition(".")
        if package == BUILTINS and (extra := builtin_functions()[function]):
            raise FunctionLoadError(
                f"function {function!r} needs the library {error.name}, which is missing; install it:"
                f" {install_command(extra)}"
            ) from error
        raise FunctionLoadError(
            f"module {name!r} needs the module {error.name!r}, which is missing{remedy(error)}"
        ) from error
    except PrefectCvatError:
        raise
    except BaseException as error:
        raise load_error(f"module {name!r} cannot be imported", error) from shorten_error(error)


def _make(module: ModuleType, name: str, parameters: Mapping[str, Any] | None) -> Any:
    parameters = dict(parameters or {})
    function: Any = module
    create = getattr(module, "create", None)
    if create is not None:
        if takes(create, "task_labels"):
            return FunctionForTask(create, parameters, name=name)
        check_parameters(create, parameters, name)
        function = call_factory(create, parameters, name)
        if isinstance(function, FunctionForTask):  # it wraps one
            return function
    elif "batch_size" in parameters:
        raise FunctionLoadError(
            f"function {name!r} takes no {argument('batch_size')}: its module has no create"
        )
    elif "prompts" in parameters:
        raise takes_no_prompts(name)
    elif parameters:
        raise FunctionLoadError(f"function {name!r} takes no parameters: its module has no create")
    if read_spec(function, "an auto-annotation function") is None:
        raise BadFunctionError(
            f"function {name!r} has neither a 'spec' nor a 'create' ({place_of(function)})"
        )
    return function
