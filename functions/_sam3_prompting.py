"""Asks SAM 3 for what prompts describe on images: each image and each prompt is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefect_cvat.auto_annotation.functions._batches import Batches
from prefect_cvat.auto_annotation.functions._sam3_exemplars import Exemplar, repeats_exemplar
from prefect_cvat.geometry.iou import box_iou

__all__ = ["Found", "Question", "Sam3Prompting", "different_objects"]

_PROMPTS_AT_ONCE = 64
"""How many prompts the text encoder gets at once."""

_SAME_OBJECT = 0.7
"""The least IoU of the boxes that two wordings of a label find of one object."""


@dataclass(frozen=True)
class Question:
    """What to look for on an image.

    Attributes:
        image: The place of the image in the batch.
        prompt: The place of the prompt.
        threshold: Minimum score.
        exemplars: Objects on the image that show what to look for, or what not.
        wants_masks: Whether masks are wanted, in addition to boxes.
    """

    image: int
    prompt: int
    threshold: float
    exemplars: Sequence[Exemplar] = ()
    wants_masks: bool = True


@dataclass(frozen=True)
class Found:
    """What the model has found for a question, on the CPU.

    Attributes:
        scores: `[N]`.
        boxes: `[N, 4]`: left, top, right, bottom, as fractions of width and height of the image.
        masks: `[N, h, w]`, probabilities of small masks of the whole image; None if they are not wanted.
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: NDArray[np.float32] | None


class Sam3Prompting:
    """Runs a `Sam3Model` for all prompts on batches of images.

    The decoder gets several prompts, and several images, at once; as many as are fast and fit into memory.

    Args:
        words: The prompts.
        processor: The processor of the model.
        device: The device of the model.
        autocast: Makes the context in which the model computes.
    """

    def __init__(
        self,
        words: Sequence[str],
        processor: Any,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._words = words
        self._processor = processor
        self._device = device
        self._autocast = autocast
        self._batches = Batches(1 if device.type == "cpu" else None)
        self._encoded: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def ask(self, model: Any, pixels: Sequence[Tensor], questions: Sequence[Question]) -> list[Found]:
        """Answer questions about images.

        Args:
            model: The model.
            pixels: `[3, H, W]` for each image, of the size that the model takes.
            questions: The questions.

        Returns:
            The answers, in the order of the questions.

        Raises:
            torch.OutOfMemoryError: One image with one prompt does not fit.
        """
        with self._autocast():
            if self._encoded is None:
                self._encoded = self._encode_words(model)
            images = torch.stack([each.to(self._device, model.dtype, non_blocking=True) for each in pixels])
            features = model.get_vision_features(pixel_values=images)
            # Questions with as many exemplars go together: padding would change what is found.
            order = sorted(range(len(questions)), key=lambda number: len(questions[number].exemplars))
            answers = self._batches.map(
                lambda batch: self._answer(model, features, batch), [questions[number] for number in order]
            )
        found = dict(zip(order, answers, strict=True))
        return [found[number] for number in range(len(questions))]

    def _encode_words(self, model: Any) -> tuple[Tensor, Tensor]:
        """The embeddings of the prompts `[P, tokens, channels]`, and which tokens count `[P, tokens]`."""
        tokens = self._processor(text=list(self._words), return_tensors="pt").to(self._device)
        masks = tokens["attention_mask"]

        def encode(numbers: Sequence[int]) -> list[Tensor]:
            part = slice(numbers[0], numbers[-1] + 1)
            encoded = model.get_text_features(input_ids=tokens["input_ids"][part], attention_mask=masks[part])
            return list(encoded.pooler_output)

        embedded = Batches(_PROMPTS_AT_ONCE).map(encode, range(len(self._words)))
        return torch.stack(embedded), masks

    def _answer(self, model: Any, features: Any, questions: Sequence[Question]) -> list[Found]:
        answers: list[Found] = []
        for count, alike in groupby(questions, lambda question: len(question.exemplars)):
            together = list(alike)
            boxes = self._boxes(together, model.dtype) if count else {}
            answers += self._found(self._run(model, features, together, boxes), together)
        return answers

    def _run(self, model: Any, features: Any, questions: Sequence[Question], boxes: dict[str, Tensor]) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        assert self._encoded is not None
        embeddings, masks = self._encoded
        images = [question.image for question in questions]
        prompts = [question.prompt for question in questions]

        def of_images(levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
            if len(set(images)) == 1:
                return tuple(level[images[:1]].expand(len(images), *level.shape[1:]) for level in levels)
            return tuple(level[images] for level in levels)

        return model(
            vision_embeds=type(features)(
                fpn_hidden_states=of_images(features.fpn_hidden_states),
                fpn_position_encoding=of_images(features.fpn_position_encoding),
            ),
            text_embeds=BaseModelOutputWithPooling(pooler_output=embeddings[prompts]),
            attention_mask=masks[prompts],
            **boxes,
        )

    def _boxes(self, questions: Sequence[Question], dtype: torch.dtype) -> dict[str, Tensor]:
        corners = torch.tensor([[each.box for each in question.exemplars] for question in questions])
        centers, sizes = (corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]
        boxes = torch.cat([centers, sizes], dim=-1).to(self._device, dtype)
        labels = torch.tensor(
            [[int(each.is_positive) for each in question.exemplars] for question in questions]
        )
        return {"input_boxes": boxes, "input_boxes_labels": labels.to(self._device)}

    def _found(self, outputs: Any, questions: Sequence[Question]) -> list[Found]:
        scores = outputs.pred_logits.float().sigmoid() * outputs.presence_logits.float().sigmoid()
        thresholds = torch.tensor([question.threshold for question in questions], device=scores.device)
        rows, columns = (scores >= thresholds[:, None]).nonzero(as_tuple=True)
        kept = [each[rows, columns].float().cpu().numpy() for each in (scores, outputs.pred_boxes)]
        wants_masks = torch.tensor([question.wants_masks for question in questions], device=scores.device)
        with_mask = wants_masks[rows]
        masks = outputs.pred_masks[rows[with_mask], columns[with_mask]].float().sigmoid().cpu().numpy()
        ends = np.searchsorted(rows.cpu().numpy(), np.arange(len(questions) + 1))
        found: list[Found] = []
        first_mask = 0
        for number, question in enumerate(questions):
            part = slice(ends[number], ends[number + 1])
            of_question = None
            if question.wants_masks:
                count = ends[number + 1] - ends[number]
                of_question = masks[first_mask : first_mask + count]
                first_mask += count
            found.append(Found(kept[0][part], kept[1][part], of_question))
        return found


def different_objects(found: Sequence[Found], exemplars: Sequence[Exemplar]) -> Iterator[tuple[Found, int]]:
    """The objects of a label, the best first: not those of exemplars, and each once.

    Args:
        found: What each wording of the label has found.
        exemplars: The exemplars of the label.

    Yields:
        What a wording has found, and the place of an object in it.
    """
    new = [np.flatnonzero(~repeats_exemplar(each.boxes, exemplars)) for each in found]
    objects = [(wording, index) for wording, indices in enumerate(new) for index in indices.tolist()]
    objects.sort(key=lambda each: -found[each[0]].scores[each[1]])
    kept: list[tuple[int, int]] = []
    for wording, index in objects:
        box = found[wording].boxes[index].astype(np.float64)
        others = [found[other].boxes[place] for other, place in kept if other != wording]
        if others and box_iou(box[None], np.array(others, dtype=np.float64)).max() >= _SAME_OBJECT:
            continue
        kept.append((wording, index))
        yield found[wording], index
