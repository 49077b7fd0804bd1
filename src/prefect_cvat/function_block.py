"""The Prefect block that holds a configured function."""

from __future__ import annotations

from typing import Annotated, Any

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, field_validator

from prefect_cvat.auto_annotation.loading import load_function, parse_parameters
from prefect_cvat.secret_parameters import secrets_hidden, with_secrets

__all__ = ["CvatFunction", "Threshold"]

Threshold = Annotated[float, Field(ge=0, le=1)]


class CvatFunction(Block):
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

    _block_type_name = "CVAT Function"
    _block_type_slug = "cvat-function"
    _description = "An auto-annotation function, with its parameters, thresholds and label map."
    _documentation_url = HttpUrl("https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/")
    # CVAT's own, as for the credentials
    _logo_url = HttpUrl(
        "https://raw.githubusercontent.com/cvat-ai/cvat/189d0a314a42486b8fc2922d5a24caf4b77d6487"
        "/site/static/favicons/pwa-192x192.png"
    )

    # needed: where all fields of a block may be left out, Prefect takes a reference to it for the block
    # itself, and refuses it as a parameter
    function: str = Field(
        description="A built-in function, one that a package has registered, or a module that is allowed.",
    )
    function_parameters: dict[str, str] = Field(
        default_factory=dict,
        title="Parameters",
        description=(
            "Parameters of the function, each value as type:value, such as float:0.3; a key or a password as"
            " secret:NAME, the name of a Secret block."
        ),
    )
    device: str | None = Field(
        default=None,
        description="Where the model runs, such as cuda:0; empty takes a free accelerator, or else the CPU.",
    )
    conf_threshold: Threshold | None = Field(
        default=None,
        title="Confidence threshold",
        description="The least score, 0 to 1; empty leaves it to the function.",
    )
    label_thresholds: dict[str, Threshold] = Field(
        default_factory=dict,
        description="The least score for single labels, by the function's label names.",
    )
    label_map: dict[str, str | None] = Field(
        default_factory=dict,
        description="From the function's label names to the task's, where they differ; null drops a label.",
    )
    ignore_case: bool = Field(
        default=False, description="Match label names without regard to upper and lower case."
    )
    allow_unmatched_labels: bool = Field(
        default=False, description="Drop what the task has no label for, instead of refusing."
    )
    conv_mask_to_poly: bool = Field(
        default=False, title="Masks as polygons", description="Write polygons instead of masks."
    )
    score_attribute: str = Field(
        default="score",
        description="The attribute of the task's labels that gets scores, if there is one; empty for none.",
    )
    model_attribute: str = Field(
        default="model",
        description="The attribute of the task's labels that gets the function's name; empty for none.",
    )

    @field_validator("function_parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, str]) -> dict[str, str]:
        parse_parameters(parameters)
        return parameters

    def get_function(self, device: str | None = None) -> Any:
        """Load the function.

        Args:
            device: Where its model runs; None leaves that to the block, or to the function.

        Raises:
            FunctionLoadError: There is no such function, it is not allowed, or it cannot be made; or there is
                no block of a secret that a parameter names.
            BadFunctionError: It has no `spec`.
        """
        parameters = with_secrets(parse_parameters(self.function_parameters))
        if (device := device or self.device) is not None:
            parameters["device"] = device
        with secrets_hidden(parameters):
            return load_function(self.function, parameters)

    def check_secrets(self) -> None:
        """Check that there are the blocks of secrets that its parameters name.

        Raises:
            FunctionLoadError: There is no such block, or it holds something else than text.
        """
        with_secrets(parse_parameters(self.function_parameters))
