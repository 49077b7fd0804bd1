"""What made annotations: which function, in which version, with which settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import PurePath
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_jsonable_python

from prefect_cvat.auto_annotation.function_calls import read_attribute
from prefect_cvat.inference.function_digest import fingerprint
from prefect_cvat.messages.bounded_text import escape_unencodable
from prefect_cvat.options.run_options import Options

__all__ = ["Provenance", "function_version", "model_names", "name_of"]

HIDDEN = "********"

_SECRET_NAME = re.compile(r"passw|secret|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class Provenance(BaseModel):
    """What made the annotations of a run.

    Attributes:
        function: The name of the function.
        function_version: Its `version`, or else a digest of its code, its parameters and its weights; None
            where it can be told neither way.
        function_parameters: What it was made with, as `type:value`, such as `float:0.3`; None where it was
            given as an object. Passwords and the like are hidden.
        conf_threshold: The least score; None left it to the function.
        label_thresholds: The least score of single labels, by the function's label names.
        labels: Which label of the task each label of the function became; None for those that were dropped.
        conv_mask_to_poly: Whether masks became polygons.
        quality: Of which images it was found: `original` or `compressed`.
        existing: What became of the annotations that were there.
        unannotated: Whether only frames without annotations were looked at.
        skip_existing_iou: From which overlap on with existing annotations it was left out; None leaves
            nothing out.
        skip_existing_source: Whose annotations counted: `manual`, `auto` or `all`.
        options: How objects were tracked, followed or refined: the options of that kind of run, by name.
        prefect_cvat: The version of prefect-cvat.
    """

    model_config = ConfigDict(extra="forbid")

    function: str
    function_version: str | None = None
    function_parameters: dict[str, str] | None = None
    conf_threshold: float | None = None
    label_thresholds: dict[str, float] = Field(default_factory=dict)
    labels: dict[str, str | None] = Field(default_factory=dict)
    conv_mask_to_poly: bool = False
    quality: str = "original"
    existing: str = "keep"
    unannotated: bool = False
    skip_existing_iou: float | None = None
    skip_existing_source: str = "manual"
    options: dict[str, JsonValue] = Field(default_factory=dict)
    prefect_cvat: str = Field(default_factory=lambda: version("prefect-cvat"))

    @classmethod
    def of(cls, function_name: str, options: Options) -> Provenance:
        """What is known of a run before it has begun."""
        return cls(
            function=function_name,
            conf_threshold=options.conf_threshold,
            label_thresholds=dict(options.label_thresholds or {}),
            conv_mask_to_poly=options.conv_mask_to_poly,
            quality=options.quality,
            existing=str(options.existing),
            unannotated=options.selection.unannotated,
            skip_existing_iou=options.skip_existing_iou,
            skip_existing_source=str(options.skip_existing_source),
        )

    def take_options(self, options: object) -> None:
        """Note the options of a kind of run.

        Args:
            options: A dataclass, such as `TrackOptions`.
        """
        self.options = to_jsonable_python(options)

    def take_parameters(self, parameters: Mapping[str, str] | None) -> None:
        """Note what the function was made with, without what is secret in it."""
        self.function_parameters = None if parameters is None else without_secrets(parameters)


def name_of(function: Any) -> str:
    """What to call a function that was given no name: that of its module or its class."""
    return function.__name__ if isinstance(function, ModuleType) else type(function).__name__


def function_version(function: Any) -> str | None:
    """The version that a function tells, or else its fingerprint; None where there is neither."""
    told = read_attribute(function, "version")
    return escape_unencodable(str(told)) if isinstance(told, str | int) else fingerprint(function)


def model_names(name: str, function: Any) -> tuple[str, ...]:
    """What to write of a function into an attribute, the best first: with its version, if it tells one.

    They are the same in all runs of a version, wherever a file with a function lies: otherwise what a run
    has written would not be known again by the next one.
    """
    short = escape_unencodable(PurePath(name).stem if name.endswith(".py") else name)
    told = read_attribute(function, "version")
    return (escape_unencodable(f"{short} {told}"), short) if isinstance(told, str | int) else (short,)


def without_secrets(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters with what their names, or an address with a log-in, give away as secret hidden."""
    return {
        name: value
        if value.startswith("secret:")  # the name of a block
        else HIDDEN
        if _SECRET_NAME.search(name)
        else _LOGIN_IN_URL.sub(HIDDEN, value)
        for name, value in parameters.items()
    }
