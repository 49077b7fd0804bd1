"""The origin of annotations: the function, its version and its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from types import ModuleType

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json, to_jsonable_python

from prefect_cvat.auto_annotation.function_calls import read_attribute
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.interface import AutoAnnotationFunction
from prefect_cvat.http.session import own_version
from prefect_cvat.inference.function_digest.digest import FunctionDigest
from prefect_cvat.inference.function_digest.named_files import changes_results
from prefect_cvat.messages.bounded_text import escape_unencodable
from prefect_cvat.options.run_options import Options

__all__ = ["Provenance", "function_version", "model_names", "name_of"]

HIDDEN = "********"

_SECRET_NAME = re.compile(r"passw|secret|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class Provenance(BaseModel):
    """The origin of the annotations of a run.

    Attributes:
        function: The name of the function.
        function_version: Its `version`, or else a digest of its code, its parameters and its weights; None
            where there is neither.
        function_parameters: Its parameters as `type:value`, such as `float:0.3`; None for a function that was
            passed as an object. Passwords and other secrets are hidden.
        conf_threshold: Confidence threshold; None for the function's own.
        prompts: What the function looked for, by label of the task, if it was given; None leaves a label out.
        label_thresholds: Confidence thresholds of single labels, by the function's label names.
        labels: The task's label for each label of the function; None for dropped labels.
        learned_labels: Those of them that were learned from corrections.
        conv_mask_to_poly: Whether masks were converted to polygons.
        quality: The quality of the images: `original` or `compressed`.
        existing: How existing annotations were treated: `keep`, `clear` or `replace_auto`.
        unannotated: Whether only frames without annotations were annotated.
        skip_existing_iou: Minimum IoU with an existing annotation from which a detection was dropped; None
            drops none.
        skip_existing_source: The existing annotations that count for it: `manual`, `auto` or `all`.
        options: The options of a tracking or refining run, by name.
        prefect_cvat: The version of prefect-cvat.
    """

    model_config = ConfigDict(extra="forbid")

    function: str
    function_version: str | None = None
    function_parameters: dict[str, str] | None = None
    prompts: dict[str, str | list[str] | None] | None = None
    conf_threshold: float | None = None
    label_thresholds: dict[str, float] = Field(default_factory=dict)
    labels: dict[str, str | None] = Field(default_factory=dict)
    learned_labels: dict[str, str] = Field(default_factory=dict)
    conv_mask_to_poly: bool = False
    quality: str = "original"
    existing: str = "keep"
    unannotated: bool = False
    skip_existing_iou: float | None = None
    skip_existing_source: str = "manual"
    options: dict[str, JsonValue] = Field(default_factory=dict)
    prefect_cvat: str = Field(default_factory=own_version)

    @classmethod
    def of(cls, function_name: str, options: Options) -> Provenance:
        """The provenance of a run that has not begun."""
        return cls(
            function=function_name,
            prompts=to_jsonable_python(options.prompts),
            conf_threshold=options.conf_threshold,
            label_thresholds=dict(options.label_thresholds or {}),
            conv_mask_to_poly=options.conv_mask_to_poly,
            quality=options.quality,
            existing=str(options.existing),
            unannotated=options.selection.unannotated,
            skip_existing_iou=options.skip_existing_iou,
            skip_existing_source=str(options.skip_existing_source),
        )

    @property
    def version(self) -> str | None:
        """What tells functions of one name apart: the function's version, its parameters and its prompts.

        Not in which order these are given, and not where and how fast the model runs.
        """
        given: dict[str, dict[str, object]] = {
            "parameters": {
                name: value
                for name, value in (self.function_parameters or {}).items()
                if changes_results(name)
            },
            "prompts": {label: _one_or_more(words) for label, words in (self.prompts or {}).items()},
        }
        parts = [self.function_version or ""]
        for name, values in given.items():
            if values:
                parts.append(f"{name} {to_json(dict(sorted(values.items()))).decode()}")
        return ", ".join(filter(None, parts)) or None

    def take_options(self, options: object) -> None:
        """Set the options of a kind of run.

        Args:
            options: A dataclass, such as `TrackOptions`.
        """
        self.options = to_jsonable_python(options)

    def take_parameters(self, parameters: Mapping[str, str] | None) -> None:
        """Set the parameters of the function, without their secrets."""
        self.function_parameters = None if parameters is None else without_secrets(parameters)


def name_of(function: AutoAnnotationFunction | ModuleType) -> str:
    """The name of a function without a given name: that of its module, its class or its factory."""
    if isinstance(function, FunctionForTask):
        return function.name
    return function.__name__ if isinstance(function, ModuleType) else type(function).__name__


def function_version(function: AutoAnnotationFunction, digest: FunctionDigest) -> str | None:
    """The `version` of a function, or else its digest; None where there is neither."""
    version = read_attribute(function, "version")
    return escape_unencodable(str(version)) if isinstance(version, str | int) else digest.digest


def model_names(name: str, function: AutoAnnotationFunction) -> tuple[str, ...]:
    """The names of a function for an attribute, the best first: with its version, if it has one.

    They do not depend on the folder of the function: a run must recognize what an earlier run has written.
    """
    short = escape_unencodable(PurePath(name).stem if name.endswith(".py") else name)
    version = read_attribute(function, "version")
    return (escape_unencodable(f"{short} {version}"), short) if isinstance(version, str | int) else (short,)


def without_secrets(parameters: Mapping[str, str]) -> dict[str, str]:
    """Hide parameters with the names of secrets, and log-ins in addresses."""
    return {
        name: value
        if value.startswith("secret:")  # the name of a block
        else HIDDEN
        if _SECRET_NAME.search(name)
        else _LOGIN_IN_URL.sub(HIDDEN, value)
        for name, value in parameters.items()
    }


def _one_or_more(words: str | list[str] | None) -> str | list[str] | None:
    """Wordings as they are the same to a function: `"a, b"` is `["a", "b"]`, and `["a"]` is `"a"`."""
    listed = [word.strip() for word in words.split(",")] if isinstance(words, str) else words
    return listed[0] if listed is not None and len(listed) == 1 else listed
