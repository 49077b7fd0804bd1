"""What all models have in common that find what words describe."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list

__all__ = ["Found", "WordModel", "check_lengths", "found_of_words", "groups_that_fit"]

_BOXES_OF_A_WORD = 300
"""The greatest number of boxes for a word, where boxes are found for each word."""


@dataclass(frozen=True)
class Found:
    """What a model found on an image, in no order.

    Attributes:
        boxes: `[N, 4]`: left, top, right, bottom, in pixels of the image.
        scores: `[N]`, 0 to 1.
        words: `[N]`, the places of the words in the list that the model was given.
    """

    boxes: Tensor
    scores: Tensor
    words: Tensor


class WordModel(abc.ABC):
    """A model that finds what words describe.

    The words are fixed: what the model makes of them without seeing an image, it makes once.

    Args:
        model: A model of transformers, in evaluation mode, on its device.
        processor: Its processor of images and words.
        words: What to look for.

    Raises:
        BadFunctionError: The model cannot read some of the words.
    """

    def __init__(self, model: Any, processor: Any, words: Sequence[str]) -> None:
        self._model = model
        self._processor = processor
        self._words = tuple(words)

    @property
    @abc.abstractmethod
    def groups(self) -> Sequence[range]:
        """The places of the words that the model reads together."""

    @abc.abstractmethod
    def find(
        self, images: Sequence[PIL.Image.Image], threshold: float, *, is_best_only: bool
    ) -> Sequence[Sequence[Found]]:
        """Find what the words describe.

        Args:
            images: RGB images of one size.
            threshold: What has a lower score is left out.
            is_best_only: Whether a box is found for that word of a group only that describes it best.

        Returns:
            For each image, what was found of each group. Boxes may overlap.
        """

    def _pixels(self, images: Sequence[PIL.Image.Image]) -> Any:
        """The images as the model takes them, on its device and in its type of numbers."""
        return self._processor.image_processor(images=list(images), return_tensors="pt").to(
            self._model.device, self._model.dtype
        )


def found_of_words(
    processor: Any,
    logits: Tensor,
    boxes: Tensor,
    images: Sequence[PIL.Image.Image],
    threshold: float,
    *,
    first: int,
    is_best_only: bool,
) -> list[Found]:
    """Let the processor of images make boxes and scores of the outputs of a model.

    Args:
        processor: The processor of images.
        logits: `[N, boxes, words]`.
        boxes: `[N, boxes, 4]`, as the model returns them.
        images: The N images.
        threshold: What does not have a higher score is left out.
        first: The place of the first of these words.
        is_best_only: See `WordModel.find`.
    """
    sizes = [(image.height, image.width) for image in images]
    post_process = processor.post_process_object_detection
    if is_best_only:
        outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
        found = post_process(outputs, threshold=threshold, target_sizes=sizes)
        return [Found(each["boxes"], each["scores"], each["labels"] + first) for each in found]
    best, places = logits.topk(min(_BOXES_OF_A_WORD, logits.shape[1]), dim=1)
    pairs = places.flatten(1)[..., None].expand(-1, -1, 4)
    outputs = SimpleNamespace(logits=best.flatten(1)[..., None], pred_boxes=boxes.gather(1, pairs))
    words = torch.arange(logits.shape[2], device=logits.device).repeat(best.shape[1]) + first
    results = []
    for each in post_process(outputs, threshold=-1.0, target_sizes=sizes):
        kept = each["scores"] > threshold
        results.append(Found(each["boxes"][kept], each["scores"][kept], words[kept]))
    return results


def check_lengths(words: Sequence[str], lengths: Iterable[int], limit: int) -> None:
    """Check that the model can read the words.

    Args:
        words: What to look for.
        lengths: Their lengths in tokens.
        limit: The greatest length, in tokens.

    Raises:
        BadFunctionError: Some are longer.
    """
    if too_long := [word for word, length in zip(words, lengths, strict=True) if length > limit]:
        raise BadFunctionError(
            f"the model reads at most {limit} tokens for a label, fewer than it needs for"
            f" {quoted_list([_shortened(word) for word in too_long])}; give shorter words with"
            f" {argument('prompts')}, or null to leave a label out"
        )


def _shortened(word: str) -> str:
    return word if len(word) <= 60 else f"{word[:59]}…"


def groups_that_fit(count: int, fits: Callable[[range], bool]) -> list[range]:
    """Divide words into as few groups as possible, in their order.

    Args:
        count: The number of words.
        fits: Whether the model can read words, by their places, together.
    """
    groups = [range(1)]
    for place in range(1, count):
        longer = range(groups[-1].start, place + 1)
        if fits(longer):
            groups[-1] = longer
        else:
            groups.append(range(place, place + 1))
    return groups
