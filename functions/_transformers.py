"""Loads models of transformers with their processors, and tells what they are for."""

from __future__ import annotations

import enum
import hashlib
import importlib
import importlib.metadata
from collections.abc import Collection, Mapping
from typing import Any

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._pretrained import check_options, load_pretrained

__all__ = ["Kind", "described", "is_a", "kind_of", "load"]


class Kind(enum.Enum):
    """What a model is for."""

    DETECTION = "object detection"
    SEGMENTATION = "segmentation"
    WORDS = "detection of what words describe"
    POSE = "pose estimation"


_AUTO_CLASSES = {
    "OBJECT_DETECTION": (Kind.DETECTION, "AutoModelForObjectDetection"),
    "INSTANCE_SEGMENTATION": (Kind.SEGMENTATION, "AutoModelForInstanceSegmentation"),
    "UNIVERSAL_SEGMENTATION": (Kind.SEGMENTATION, "AutoModelForUniversalSegmentation"),
    "ZERO_SHOT_OBJECT_DETECTION": (Kind.WORDS, "AutoModelForZeroShotObjectDetection"),
}
_POSE = "VitPoseForPoseEstimation"
"""It has no auto class."""

_UNSUPPORTED = "Videomt"
"""It needs more than one image."""

_FUNCTIONS = {
    Kind.DETECTION: "transformers_detection",
    Kind.SEGMENTATION: "transformers_detection",
    Kind.WORDS: "open_vocabulary_detection",
    Kind.POSE: "transformers_pose",
}


def kind_of(model: Any) -> Kind | None:
    """What a model is for; None for nothing that can be annotated."""
    for base in type(model).__mro__:
        if (found := _kind_and_loader(base.__name__)) is not None:
            return found[0]
    return None


def is_a(model: Any, class_name: str) -> bool:
    """Whether a model is of this class of transformers, or of one derived from it."""
    return any(base.__name__ == class_name for base in type(model).__mro__)


def described(model: Any, processor: Any) -> tuple[str, ...]:
    """What the results depend on besides the layers and their weights, for the version of a function."""
    libraries = {type(layer).__module__.partition(".")[0] for layer in model.modules()} & {"timm"}
    return (
        *(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", *libraries)),
        # the settings are not all those of the modules' constructors
        hashlib.sha256(model.config.to_json_string(use_diff=False).encode()).hexdigest(),
        repr(processor),
    )


def load(
    model: Any, processor: Any, options: Mapping[str, Any], kinds: Collection[Kind]
) -> tuple[Any, Any, Kind]:
    """Load by name what is a name.

    Args:
        model: A name on the Hub, a folder, or a `PreTrainedModel`.
        processor: Its processor, or its name or folder; None for those of the model.
        options: For `from_pretrained`.
        kinds: What the model may be for.

    Returns:
        The model, its processor, and what it is for.

    Raises:
        FunctionLoadError: Transformers is not installed, or there is no such model or processor.
        TypeError: The model is none, or for something else; or a model object came with options or without
            its processor.
    """
    check_options(options)
    transformers = import_extra("transformers")
    source = model if processor is None else processor
    if isinstance(model, str):
        config = load_pretrained("AutoConfig", model, options)
        name = (config.architectures or ["a model of unknown class"])[0]
        found = _kind_and_loader(name)
        kind = _checked(None if found is None else found[0], f"{model} is {name}", kinds)
        loader = name if found is None else found[1]
        model = load_pretrained(loader, model, options)
    elif not isinstance(model, transformers.PreTrainedModel):
        raise TypeError(f"model must be a name or a model of transformers, not {type(model).__name__}")
    elif options:
        raise TypeError(f"only a model by name takes the options {', '.join(sorted(options))}")
    elif processor is None:
        raise TypeError("a model object needs its processor")
    else:
        kind = _checked(kind_of(model), f"the model is {type(model).__name__}", kinds)
    if isinstance(source, str):
        reads_words = kind is Kind.WORDS or is_a(model, "OneFormerForUniversalSegmentation")
        source = load_pretrained("AutoProcessor" if reads_words else "AutoImageProcessor", source, options)
    return model, source, kind


def _checked(kind: Kind | None, described: str, kinds: Collection[Kind]) -> Kind:
    if kind is None:
        raise TypeError(f"{described}, which is no model that is supported")
    if kind not in kinds:
        raise TypeError(f"{described}, a model for {kind.value}; use it with {_FUNCTIONS[kind]}")
    return kind


def _kind_and_loader(class_name: str) -> tuple[Kind, str] | None:
    if class_name.startswith(_UNSUPPORTED):
        return None
    if class_name == _POSE:
        return Kind.POSE, _POSE
    names_of_models = importlib.import_module("transformers.models.auto.modeling_auto")
    for name, (kind, auto_class) in _AUTO_CLASSES.items():
        if class_name in getattr(names_of_models, f"MODEL_FOR_{name}_MAPPING_NAMES").values():
            return kind, auto_class
    return None
