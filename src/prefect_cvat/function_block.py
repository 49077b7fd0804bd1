"""The Prefect block that holds a configured function."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, field_validator
from pydantic_core import to_json

from prefect_cvat.auto_annotation.functions_in_parameters import load_with_prompts
from prefect_cvat.auto_annotation.loading import load_function, parse_parameters
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.option_base import OptionModel
from prefect_cvat.secret_parameters import secrets_hidden, with_secrets

__all__ = ["CvatFunction"]


class _NamedFunction(OptionModel):
    # needed: where all fields of a block may be left out, Prefect takes a reference to it for the block
    # itself, and refuses it as a parameter
    function: str = Field(
        description="A built-in function, one that a package has registered, or a module that is allowed.",
    )
    function_parameters: dict[str, str] | None = Field(
        default=None,
        description=(
            "Parameters of the function, each value as type:value, such as float:0.3; a key or a password as"
            " secret:NAME, the name of a Secret block."
        ),
    )


# pydantic takes the fields of the last base first: the form shows the function before its labels
class CvatFunction(AnnotationOptions, LabelOptions, ModelOptions, _NamedFunction, Block):
    """An auto-annotation function as it is to be used: its parameters, thresholds and label map.

    Example:
        ```python
        from prefect_cvat.function_block import CvatFunction

        CvatFunction(
            function="nanodet_detection",
            conf_threshold=0.5,
            label_map={"bicycle": "bike"},
            allow_unmatched_labels=True,
        ).save("BLOCK_NAME")

        function = CvatFunction.load("BLOCK_NAME").get_function()
        ```
    """

    model_config = ConfigDict(frozen=False)  # Prefect notes on a block where it is stored

    _block_type_name = "CVAT Function"
    _block_type_slug = "cvat-function"
    _description = "An auto-annotation function, with its parameters, thresholds and label map."
    _documentation_url = HttpUrl("https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/")

    @field_validator("function_parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, str] | None) -> dict[str, str] | None:
        parse_parameters(parameters or {})
        return parameters

    def get_function(self, device: str | None = None) -> Any:
        """Load the function. One that is made for a task is made by the run, for the labels of its task.

        So is one that gets prompts, whether or not it takes labels.

        Args:
            device: Where its model runs; None leaves that to the block, or to the function.

        Raises:
            FunctionLoadError: There is no such function, it is not allowed, or it cannot be made; it takes no
                prompts and there are some; or there is no block of a secret that a parameter names.
            BadFunctionError: It has no `spec`.
        """
        parameters = with_secrets(parse_parameters(self.function_parameters or {}))
        parameters |= self.create_arguments
        if device:
            parameters["device"] = device
        with secrets_hidden(parameters):
            if self.prompts is None:
                return load_function(self.function, parameters)
            return load_with_prompts(self.function, parameters, self.prompts)

    def as_json(self) -> str:
        """Its fields as JSON, without the type of the block, by which Prefect imports all its collections."""
        return to_json({name: getattr(self, name) for name in CvatFunction.model_fields}).decode()

    def check_secrets(self) -> None:
        """Check that there are the blocks of secrets that its parameters name.

        Raises:
            FunctionLoadError: There is no such block, or it holds something else than text.
        """
        with_secrets(parse_parameters(self.function_parameters or {}))
