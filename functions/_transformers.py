"""Loads models of transformers, and reads the words of open-vocabulary detections."""

from __future__ import annotations

import enum
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prefect_cvat.auto_annotation.functions._extras import import_extra

__all__ = ["Kind", "kind_of", "load", "word_scores"]


class Kind(enum.Enum):
    """The output type of a model."""

    DETECTION = "object detection"
    SEGMENTATION = "segmentation"
    WORDS = "zero-shot detection"
    WORDS_IN_SENTENCE = "zero-shot detection of the words of a sentence"
    """The model gets the words as one sentence and scores its tokens."""

    @property
    def takes_words(self) -> bool:
        """Whether the model takes words as prompts."""
        return self in (Kind.WORDS, Kind.WORDS_IN_SENTENCE)


_AUTO_CLASSES = {
    "OBJECT_DETECTION": (Kind.DETECTION, "AutoModelForObjectDetection"),
    "INSTANCE_SEGMENTATION": (Kind.SEGMENTATION, "AutoModelForInstanceSegmentation"),
    "UNIVERSAL_SEGMENTATION": (Kind.SEGMENTATION, "AutoModelForUniversalSegmentation"),
    "ZERO_SHOT_OBJECT_DETECTION": (Kind.WORDS, "AutoModelForZeroShotObjectDetection"),
}
_UNSUPPORTED = ("OneFormer", "Videomt", "OmDetTurbo")
"""They need more than images, or words in another way."""


def kind_of(model: Any) -> Kind:
    """Determine the output type of a model.

    Raises:
        TypeError: Nothing that can be annotated.
    """
    for base in type(model).__mro__:
        if (found := _kind_and_auto_class(base.__name__)) is not None:
            return found[0]
    raise TypeError(f"{type(model).__name__} is no model for detection or segmentation that is supported")


def load(model: Any, processor: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Load by name what is a name.

    Raises:
        OSError: There is no such model or processor.
        TypeError: The model cannot annotate.
    """
    transformers = import_extra("transformers")
    source = model if processor is None else processor
    if isinstance(model, str):
        config = transformers.AutoConfig.from_pretrained(model, **options)
        names = config.architectures or ["a model of unknown class"]
        found = _kind_and_auto_class(names[0])
        if found is None:
            raise TypeError(f"{model} is {names[0]}, which is no model that is supported")
        model = getattr(transformers, found[1]).from_pretrained(model, **options)
    if isinstance(source, str):
        auto = transformers.AutoProcessor if kind_of(model).takes_words else transformers.AutoImageProcessor
        return model, auto.from_pretrained(source, **options)
    return model, source


def _kind_and_auto_class(class_name: str) -> tuple[Kind, str] | None:
    if class_name.startswith(_UNSUPPORTED):
        return None
    names_of_models = importlib.import_module("transformers.models.auto.modeling_auto")
    for name, (kind, auto_class) in _AUTO_CLASSES.items():
        if class_name in getattr(names_of_models, f"MODEL_FOR_{name}_MAPPING_NAMES").values():
            is_sentence = kind is Kind.WORDS and "GroundingDino" in class_name
            return (Kind.WORDS_IN_SENTENCE if is_sentence else kind), auto_class
    return None


def word_scores(logits: Tensor, input_ids: Tensor, tokenizer: Any, words: Mapping[int, str]) -> Tensor:
    """Return logits for words instead of tokens.

    Grounding DINO scores each token of `a cat. a dog.`; a word has the score of its best token.

    Args:
        logits: `[N, queries, T]`, -inf where there is no token.
        input_ids: `[N, tokens]`, the same for all N; between words stands a full stop.
        tokenizer: Which made them.
        words: By their numbers, from 0.

    Returns:
        `[N, queries, len(words)]`
    """
    apart = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    stop = tokenizer.convert_tokens_to_ids(".")
    columns: list[Sequence[int]] = []
    current: list[int] = []
    for place, token in enumerate(input_ids[0].tolist()):
        if token == stop:
            columns.append(current)
            current = []
        elif token not in apart:
            current.append(place)
    if len(columns) != len(words) or not all(columns):
        raise ValueError(f"labels are longer than the model can read: {', '.join(words.values())}")
    return torch.stack([logits[..., places].amax(-1) for places in columns], dim=-1)
