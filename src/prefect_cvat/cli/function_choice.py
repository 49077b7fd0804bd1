"""The options that choose the function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import click
from pydantic import Field

from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["FunctionChoice"]


class _NamedFunction(OptionModel):
    group: ClassVar[str] = ModelOptions.group

    function: Annotated[
        str | None,
        OnCommandLine(metavar="NAME"),
        Field(description="Built-in function, such as nanodet_detection."),
    ] = None
    function_module: Annotated[
        str | None,
        OnCommandLine(metavar="MODULE"),
        Field(description="Module to use as the function."),
    ] = None
    function_file: Annotated[
        Path | None,
        OnCommandLine(metavar="PATH"),
        Field(description="Python file to use as the function."),
    ] = None
    function_parameter: Annotated[
        Sequence[str],
        OnCommandLine("--function-parameter -p", metavar="NAME=TYPE:VALUE"),
        Field(description="Parameter of the function."),
    ] = ()
    exemplars: Annotated[
        Literal["manual"] | None,
        Field(
            description=(
                "Shapes that show the function what to look for on their frame: those that people have drawn"
                " or corrected. For functions that take exemplars, such as sam3_detection."
            )
        ),
    ] = None


# pydantic takes the fields of the last base first
class FunctionChoice(ModelOptions, _NamedFunction):
    """The options of the function: name, parameters, device and batch size."""

    @property
    def is_made(self) -> bool:
        """Whether a function was chosen."""
        return self._count > 0

    @property
    def _count(self) -> int:
        choices = (self.function, self.function_module, self.function_file)
        return sum(choice is not None for choice in choices)

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function or self.function_module or str(self.function_file)

    @property
    def parameters(self) -> dict[str, str]:
        """The given parameters of the function, as `type:value` by name."""
        return dict(text.split("=", 1) for text in self._texts)

    @property
    def _texts(self) -> list[str]:
        exemplars = [] if self.exemplars is None else [f"exemplars=str:{self.exemplars}"]
        return [*self.function_parameter, *exemplars]

    def load(self) -> Any:
        """Load the function.

        Raises:
            BadParameter: Not exactly one function is chosen, or a parameter is not `name=type:value`.
            FunctionLoadError: There is no such function, or it cannot be made.
        """
        from prefect_cvat.auto_annotation import loading
        from prefect_cvat.auto_annotation.secret_text import SecretReference

        if self._count != 1:
            raise click.BadParameter("give one of --function, --function-module and --function-file")
        try:
            values = dict(map(loading.parse_parameter, self._texts))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="-p") from None
        values |= self.create_arguments
        if not any(isinstance(value, SecretReference) for value in values.values()):
            return self._load(values)
        from prefect_cvat.deployments.prefect_server import prefect_server
        from prefect_cvat.secret_parameters import secrets_hidden, with_secrets

        with prefect_server():
            values = with_secrets(values)
        with secrets_hidden(values):
            return self._load(values)

    def _load(self, parameters: dict[str, Any]) -> Any:
        from prefect_cvat.auto_annotation import loading

        if self.function_module is not None:
            return loading.load_function_module(self.function_module, parameters)
        if self.function_file is not None:
            return loading.load_function_file(self.function_file, parameters)
        return loading.load_function(self.function or "", parameters)
