"""Loads models and processors of transformers; says how to download what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean

__all__ = ["PretrainedOptions", "check_options", "load_pretrained"]


class PretrainedOptions(TypedDict, total=False):
    """The options of `from_pretrained` that functions take: others are refused before a download."""

    attn_implementation: str
    cache_dir: str
    dtype: Any
    force_download: bool
    local_files_only: bool
    revision: str
    subfolder: str
    token: str | bool
    torch_dtype: Any
    use_safetensors: bool
    variant: str


def check_options(options: Mapping[str, Any]) -> None:
    """Check the options of `from_pretrained`.

    Raises:
        FunctionLoadError: There is none of a name.
    """
    known = PretrainedOptions.__annotations__
    for name in options:
        if name not in known:
            raise FunctionLoadError(
                f"{name!r} is neither a parameter of the function nor an option of from_pretrained"
                f"{did_you_mean(name, known) or f', which are {quoted_list([*known], len(known))}'}"
            )


def load_pretrained(
    class_name: str, source: str, options: Mapping[str, Any], *, family: str | None = None
) -> Any:
    """Load a model or a processor.

    Args:
        class_name: Its class in transformers.
        source: A name on the Hugging Face Hub, or a folder.
        options: Options of `from_pretrained`.
        family: How the `model_type` of the model must begin; None for any. Transformers would load another
            model with random weights.

    Raises:
        FunctionLoadError: There is no such option; or transformers is not installed, or has no such class; or
            the model is of another family; or its files are neither on this machine nor can they be
            downloaded, and the message says how to download them.
    """
    check_options(options)
    transformers = import_extra("transformers")
    try:
        loaded_class = getattr(transformers, class_name)
    except AttributeError as error:
        raise FunctionLoadError(
            f"transformers {transformers.__version__} has no {class_name}; install a newer one:"
            " pip install --upgrade transformers"
        ) from error
    try:
        if family is not None:
            model_type = transformers.AutoConfig.from_pretrained(source, **options).model_type
            if not model_type.startswith(family):
                raise FunctionLoadError(f"{source!r} is a model of type {model_type!r}, not {family!r}")
        return loaded_class.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise FunctionLoadError(_explain(class_name, source, error)) from error


def _explain(class_name: str, source: str, error: Exception) -> str:
    reason = one_line(str(error).strip().partition("\n")[0])
    if Path(source).exists():
        return f"{class_name} cannot be loaded from the folder {source!r}: {reason}"
    if _is_folder(source):
        return (
            f"there is no folder {source!r} for {class_name}; give a folder with its files, or the name of a"
            " model on the Hugging Face Hub"
        )
    if "gated" in str(error):
        return (
            f"{source!r} may be downloaded only by those who have accepted its licence: accept it at"
            f" https://huggingface.co/{source}, then run: hf auth login && hf download {source}"
        )
    return (
        f"{source!r} is not on this machine and cannot be downloaded ({reason}); download it where there is"
        f" a network: hf download {source}; or give a folder with its files"
    )


def _is_folder(source: str) -> bool:
    """Whether it can only be a folder: a name on the Hub is `NAME` or `OWNER/NAME`."""
    return source.startswith(("/", "\\", ".", "~")) or source.count("/") > 1 or "\\" in source
