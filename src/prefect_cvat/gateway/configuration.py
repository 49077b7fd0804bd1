"""The configuration of the gateway: its options, and the functions that it serves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator, model_validator

from prefect_cvat.auto_annotation.loading import parse_parameters
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.gateway_options import GatewayOptions
from prefect_cvat.options.label_and_threshold_options import FunctionLabelOptions

__all__ = ["GatewayConfiguration", "ServedFunction", "read_configuration"]

NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""CVAT 2.73 lists functions with other names, but answers 404 when they are called."""


class ServedFunction(FunctionLabelOptions, ModelOptions):
    """A function that the gateway serves, and how CVAT shows it.

    Attributes:
        name: Its id in CVAT; by default that of the function, module or file.
        title: Its name in CVAT's pages.
        description: A sentence about it.
        help_text: What CVAT shows to who uses it.
        function: A built-in function, one that a package has registered, or a module that is allowed.
        function_module: A module to use as the function.
        function_file: A Python file to use as the function.
        function_parameters: Parameters of the function. Texts are written as `type:value`, such as
            `str:large` or `secret:NAME`; numbers, booleans, lists and objects as they are.

    Raises:
        ValueError: A value is invalid, or there is not exactly one function.
    """

    name: str = ""
    title: str = ""
    description: str = ""
    help_text: str = ""
    function: str | None = None
    function_module: str | None = None
    function_file: Path | None = None
    function_parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_it(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("name"):
            return values
        choices = (values.get(key) for key in ("function", "function_module"))
        source = next(filter(None, choices), None)
        if source is None and values.get("function_file"):
            source = Path(values["function_file"]).stem
        if isinstance(source, str):
            values = {**values, "name": re.sub(r"[^A-Za-z0-9_.-]", "-", source)}
        return values

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} must consist of letters, digits, '_', '.' and '-': CVAT calls no other"
            )
        return name

    @field_validator("function_parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        parse_parameters({name: value for name, value in parameters.items() if isinstance(value, str)})
        return parameters

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        choices = (self.function, self.function_module, self.function_file)
        if sum(choice is not None for choice in choices) != 1:
            raise ValueError("give one of function, function_module and function_file")
        return self

    @property
    def create_parameters(self) -> dict[str, Any]:
        """The arguments of the function's `create`; secrets are references."""
        texts = {key: value for key, value in self.function_parameters.items() if isinstance(value, str)}
        return {**self.function_parameters, **parse_parameters(texts), **self.create_arguments}


class GatewayConfiguration(GatewayOptions):
    """The options of the gateway, and its functions.

    Raises:
        ValueError: A value is invalid, or two functions have the same name.
    """

    functions: Sequence[ServedFunction] = ()

    @field_validator("functions")
    @classmethod
    def _check_names(cls, functions: Sequence[ServedFunction]) -> Sequence[ServedFunction]:
        names = [function.name for function in functions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"there are several functions named {twice[0]!r}; give each its own name")
        return tuple(functions)


def read_configuration(file: Path) -> GatewayConfiguration:
    """Read a configuration file.

    Args:
        file: YAML: the options of the gateway, and a list of `functions`. Files of functions are
            relative to its folder.

    Raises:
        ValueError: It cannot be read, or is invalid. The message names the file and the function.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise ValueError(f"{str(file)!r} cannot be read: {reason}") from None
    if not isinstance(content, dict) or not isinstance(content.get("functions"), list):
        raise ValueError(f"{str(file)!r} must be an object with a list 'functions'")  # noqa: TRY004
    functions = []
    for index, entry in enumerate(content.pop("functions")):
        if not isinstance(entry, dict):
            raise ValueError(f"{str(file)!r}: functions[{index}] must be an object, not {entry!r}")  # noqa: TRY004
        if isinstance(entry.get("function_file"), str):
            entry["function_file"] = file.parent / entry["function_file"]
        try:
            functions.append(ServedFunction(**entry))
        except (ValueError, TypeError) as error:
            name = f" ({entry['name']})" if isinstance(entry.get("name"), str) else ""
            raise ValueError(f"{str(file)!r}: functions[{index}]{name}: {error}") from None
    try:
        return GatewayConfiguration(**content, functions=functions)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{str(file)!r}: {error}") from None
