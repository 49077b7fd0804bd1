"""What the functions with SAM 3 share: images and words for the model, and the size of its masks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from torch import Tensor

from prefect_cvat import models
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.label_prompts import LabelPrompts
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.argument_names import argument

__all__ = [
    "MODEL",
    "Input",
    "Prompt",
    "described",
    "enlarged",
    "list_prompts",
    "prepare_image",
    "spec_labels",
]

MODEL = "facebook/sam3"
"""The weights of SAM 3 on the Hugging Face Hub: one set for images and videos."""

_MAX_TOKENS = 32
"""The processor of SAM 3 pads prompts to this length (transformers 5.24)."""


@dataclass(frozen=True)
class Input:
    """A preprocessed image.

    Attributes:
        pixels: `[3, H, W]`, of the size that the model takes.
        size: Width and height of the image in pixels.
    """

    pixels: Tensor
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """The memory of the pixels."""
        return self.pixels.nbytes


@dataclass(frozen=True)
class Prompt:
    """A wording to look for.

    Attributes:
        label_id: The label of what it finds: the place of the label among the labels of the function.
        words: The wording.
    """

    label_id: int
    words: str


def prepare_image(processor: Any, image: PIL.Image.Image) -> Input:
    """Resize an image of any mode."""
    pixels = processor.image_processor(to_rgb(image), return_tensors="pt")["pixel_values"][0]
    return Input(pixels, image.size)


def list_prompts(labels: Sequence[LabelPrompts], tokenizer: Any) -> list[Prompt]:
    """All wordings of all labels.

    Raises:
        BadFunctionError: A wording is longer than the model can read.
    """
    prompts = [Prompt(label_id, words) for label_id, each in enumerate(labels) for words in each.words]
    for prompt, tokens in zip(prompts, tokenizer([each.words for each in prompts])["input_ids"], strict=True):
        if len(tokens) > _MAX_TOKENS:
            raise BadFunctionError(
                f"the prompt of label {labels[prompt.label_id].label.name!r} has {len(tokens)} tokens, and"
                f" SAM 3 reads {_MAX_TOKENS}; shorten it with {argument('prompts')}: {prompt.words!r}"
            )
    return prompts


def spec_labels(labels: Sequence[LabelPrompts]) -> list[models.PatchedLabelRequest]:
    """The labels of a function's spec, of the types of the task's labels; of type mask for any type."""
    return [
        label_spec(each.label.name, number, type="mask" if each.label.type == "any" else each.label.type)
        for number, each in enumerate(labels)
    ]


def described(model: Any, processor: Any, labels: Sequence[LabelPrompts]) -> tuple[object, ...]:
    """What results depend on, besides weights and thresholds, for the version of a function."""
    # The settings are not all those of the modules' constructors.
    settings = model.config.to_json_string(use_diff=False)
    return (
        import_extra("transformers").__version__,
        [(each.label.name, each.label.type, each.words) for each in labels],
        hashlib.sha256(settings.encode()).hexdigest(),
        repr(processor),
    )


def enlarged(
    values: NDArray[np.float32], size: tuple[int, int], level: float
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Enlarge a small mask to the size of an image, as `torch.nn.functional.interpolate` does, bilinearly.

    Args:
        values: `[h, w]`, the mask of the whole image.
        size: Width and height of the image in pixels.
        level: The least value of a pixel of the mask.

    Returns:
        The part of the image outside of which no value reaches `level`, `[H, W]`, and the place of its upper
        left pixel, `(x, y)`. The part is empty if no value reaches it.
    """
    reached = values >= level
    rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    if not rows.size:
        return np.zeros((0, 0), dtype=np.float32), (0, 0)
    top, above, below, row_weights = _samples(rows, values.shape[0], size[1])
    left, before, after, column_weights = _samples(columns, values.shape[1], size[0])
    by_row = values[above] * (1 - row_weights)[:, None] + values[below] * row_weights[:, None]
    part = by_row[:, before] * (1 - column_weights) + by_row[:, after] * column_weights
    return part.astype(np.float32, copy=False), (left, top)


def _samples(
    reached: NDArray[np.intp], count: int, length: int
) -> tuple[int, NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The pixels that lie within one value of those reached: the first, and for each the values and weights.

    Args:
        reached: Places of values, ascending.
        count: Number of values.
        length: Number of pixels.
    """
    scale = count / length
    first = max(math.floor((reached[0] - 0.5) / scale - 0.5), 0)
    end = min(math.ceil((reached[-1] + 1.5) / scale + 0.5), length)
    places = ((np.arange(first, end) + 0.5) * scale - 0.5).clip(0, count - 1)
    before = np.floor(places).astype(np.intp)
    after = np.minimum(before + 1, count - 1)
    return first, before, after, (places - before).astype(np.float32)
