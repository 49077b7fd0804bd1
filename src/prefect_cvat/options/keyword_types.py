"""Options as keyword arguments of a function: their names and types for editors and mypy.

Type checkers read a TypedDict only where its fields are written out, so these cannot be derived from the
models. The types are those that a caller may pass, which are wider than those of the models: a set of frames,
a string for an enum. `tests/options/test_option_parity.py` compares names and types with the models.
Defaults, bounds and descriptions come from the models (`documented`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypedDict, TypeVar, cast, get_type_hints

from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import SourceEnum
from prefect_cvat.options.existing_annotation_options import Existing, ExistingSource
from prefect_cvat.options.label_and_threshold_options import LabelMap, Prompts
from prefect_cvat.options.option_base import OptionModel
from prefect_cvat.options.refine_options import PromptingType

__all__ = ["AnnotateKeywords", "RefineKeywords", "TrackKeywords", "documented"]

SDK_ORDER = ("allow_unmatched_labels", "conf_threshold", "conv_mask_to_poly")
"""The options that `cvat_sdk` also has, in its order."""

F = TypeVar("F", bound=Callable[..., Any])


class FetchKeywords(TypedDict, total=False):
    """Options for frames and downloads."""

    frames: Collection[int] | str | None
    jobs: Collection[int] | str | None
    quality: Literal["original", "compressed"]
    frames_per_batch: int | None
    downloads: int | None


class TrackKeywords(FetchKeywords, total=False):
    """The options of `track_task`."""

    prompts: Prompts | None
    conf_threshold: float | None
    label_thresholds: Mapping[str, float] | None
    label_map: LabelMap | None
    ignore_case: bool
    learned: bool
    allow_unmatched_labels: bool
    conv_mask_to_poly: bool
    model_attribute: str | None
    existing: Existing | Literal["keep", "clear", "replace_auto"]
    on_frame_error: Literal["fail", "skip"]
    use_cache: bool
    refresh_cache: bool
    review_frames: int
    open_issues: int


class AnnotateKeywords(TrackKeywords, total=False):
    """The options of `annotate_task`."""

    score_attribute: str | None
    skip_existing_iou: float | None
    skip_existing_source: ExistingSource | Literal["manual", "auto", "all"]
    review_threshold: float | None


class RefineKeywords(FetchKeywords, total=False):
    """The options of `refine_task`."""

    labels: Collection[str] | None
    sources: Collection[SourceEnum | str] | None
    shape_types: Collection[PromptingType] | None
    to: Literal["mask", "polygon"]
    keep_originals: bool
    tolerance: float


def documented(keywords: type[Any], *models: type[OptionModel]) -> Callable[[F], F]:
    """Expand `**options: Unpack[...]` in the signature and the docstring of a function.

    So `help()` shows name, type, default and description of each option.

    Args:
        keywords: The TypedDict of the options.
        models: The models that define the options.
    """
    hints = get_type_hints(keywords)
    fields = {name: field for model in models for name, field in model.model_fields.items() if name in hints}
    fields = {name: fields[name] for name in SDK_ORDER if name in fields} | fields
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[name])
        for name, field in fields.items()
    ]
    entries = "".join(f"        {name}: {field.description}\n" for name, field in fields.items())

    def document(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        known = {parameter.name for parameter in (*own, *options)}

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            if unknown := keywords.keys() - known:
                name = min(unknown)
                raise TypeError(f"{function.__name__}() has no argument {name!r}{did_you_mean(name, known)}")
            return function(*arguments, **keywords)

        before, _, after = (function.__doc__ or "").partition("        options: ")
        call.__doc__ = before + entries + after.partition("\n")[2]
        call.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return cast("F", call)

    return document
