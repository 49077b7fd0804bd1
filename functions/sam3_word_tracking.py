"""SAM 3 of Hugging Face's transformers: finds in videos what the labels of the task are called.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import PIL.Image

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    shape,
)
from prefect_cvat.auto_annotation.functions._model_function import Item, ModelFunction
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions, load_pretrained
from prefect_cvat.auto_annotation.functions._sam3 import (
    MODEL,
    Input,
    described,
    enlarged,
    list_prompts,
    prepare_image,
    spec_labels,
)
from prefect_cvat.auto_annotation.functions._sam3_session import FollowedObject, Sam3Session
from prefect_cvat.auto_annotation.functions._shapes import mask_points
from prefect_cvat.auto_annotation.label_prompts import LabelPrompts, prompts_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import Prompts, TaskLabel

__all__ = ["Sam3WordTrackingFunction", "create"]


@dataclass(frozen=True)
class _Output:
    """The objects on an image, and its size."""

    objects: list[FollowedObject]
    size: tuple[int, int]


class Sam3WordTrackingFunction(ModelFunction):
    """Finds and follows objects with SAM 3; see `create`.

    Args:
        model: A `Sam3VideoModel`. It is taken over.
        processor: Its processor.
        labels: The labels and their words.
        tolerance: How far polygons may be from the outline of a mask, in pixels.
        lost_after: Number of frames after which an object that is not seen is forgotten.
        **settings: Those of `ModelFunction`; the score is that of an object when it is found first.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        labels: Sequence[LabelPrompts],
        *,
        tolerance: float,
        lost_after: int,
        **settings: Any,
    ) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        if lost_after < 1:
            raise ValueError(f"lost_after must be 1 or more, not {lost_after}")
        # the frames of a video come one after the other
        super().__init__(model, batch_size=1, half_precision=False, **settings)
        self.tolerance = tolerance
        self._lost_after = lost_after
        self._processor = processor
        self._labels = tuple(labels)
        self._prompts = list_prompts(labels, processor.tokenizer)
        self._matching_threshold = model.score_threshold_detection
        self._session: Sam3Session | None = None
        self.begin_video()

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels that are looked for, as the task has them."""
        return DetectionFunctionSpec(labels=spec_labels(self._labels))

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            *described(self._loaded_model(), self._processor, self._labels),
            self.tolerance,
            self._lost_after,
        )

    def begin_video(self) -> None:
        """Forget all objects: the next image is the first of a video."""
        words = [prompt.words for prompt in self._prompts]
        self._session = Sam3Session(
            self._loaded_model(), self._processor, words, self._device, lost_after=self._lost_after
        )

    @property
    def dropped_objects(self) -> frozenset[int]:
        """The numbers of objects that have turned out to be none, or another one's."""
        return self._open_session().dropped

    def preprocess_image(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> Input:  # noqa: ARG002
        """Resize an image of any mode; may be called in several threads at a time."""
        return prepare_image(self._processor, image)

    def infer_batch(
        self, contexts: Sequence[DetectionFunctionContext], inputs: Sequence[Input]
    ) -> list[_Output]:
        """Find and follow the objects on the next images of a video.

        Raises:
            BadFunctionError: The objects on an image do not fit into the memory of the device.
        """
        return self._in_batches(self._advance, list(zip(contexts, inputs, strict=True)), "a frame")

    def postprocess(self, context: DetectionFunctionContext, output: _Output) -> list[DetectionAnnotation]:
        """Make shapes of the objects on an image; `group` is the number of the object."""
        return list(self._shapes(context, output))

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._session = None
        super().close()

    def _open_session(self) -> Sam3Session:
        if self._session is None:
            raise RuntimeError("the function is closed")
        return self._session

    def _advance(self, items: Sequence[tuple[DetectionFunctionContext, Input]]) -> list[_Output]:
        model: Any = self._loaded_model()
        [(context, each)] = items
        model.new_det_thresh = self._threshold(context)
        # what is found again need not be found as surely as what is new
        model.score_threshold_detection = min(self._matching_threshold, model.new_det_thresh)
        return [_Output(self._open_session().advance(each.pixels), each.size)]

    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        contexts = [context for context, _ in items]
        outputs = self.infer_batch(contexts, [self.preprocess_image(*item) for item in items])
        return [self.postprocess(*each) for each in zip(contexts, outputs, strict=True)]

    def _shapes(self, context: DetectionFunctionContext, output: _Output) -> Iterator[DetectionAnnotation]:
        taken: dict[int, Any] = {}  # the pixels of the objects before, by prompt
        for each in sorted(output.objects, key=lambda found: (-found.tracking_score, found.number)):
            part, (left, top) = enlarged(each.logits, output.size, 0.0)
            bitmap = part > 0
            area = slice(top, top + bitmap.shape[0]), slice(left, left + bitmap.shape[1])
            of_prompt = taken.setdefault(each.prompt, np.zeros(output.size[::-1], dtype=np.bool_))
            bitmap &= ~of_prompt[area]
            of_prompt[area] |= bitmap
            label_id = self._prompts[each.prompt].label_id
            shape_type = str(self.spec.labels[label_id].type)
            if shape_type == "mask" and context.conv_mask_to_poly:
                shape_type = "polygon"
            points = mask_points(shape_type, bitmap, offset=(left, top), tolerance=self.tolerance)
            if points is not None:
                yield shape(label_id, type=shape_type, points=points, score=each.score, group=each.number)


def create(
    *,
    task_labels: Sequence[TaskLabel],
    prompts: Prompts | None = None,
    model: str = MODEL,
    score_threshold: float = 0.7,
    tolerance: float = 1.0,
    lost_after: int = 30,
    device: str = "auto",
    **from_pretrained: Unpack[PretrainedOptions],
) -> Sam3WordTrackingFunction:
    """Make a function that finds in a video what the labels of the task are called, and follows it.

    `track` makes a track of each object. The type of a label decides what its objects become: masks, polygons
    or rectangles; objects of a label of any type become masks, or polygons where the run asks for them. A
    polygon is the outline of the largest part of an object. Masks of one prompt do not overlap.

    Example:
        `create(task_labels=labels, prompts={"sign": "traffic sign, road sign"}, device="cuda")`

    Args:
        task_labels: The labels of the task; a run gives them.
        prompts: What to look for, by label: words, several wordings, or None to leave the label out. Labels
            that are not named are looked for by their name.
        model: A name on the Hugging Face Hub, downloaded on first use, or a folder. `facebook/sam3` is given
            to those who accept its licence.
        score_threshold: Minimum score of an object when it is found first, when the run sets no threshold.
            Its shapes all have this score.
        tolerance: How far polygons may be from the outline of the mask, in pixels.
        lost_after: Number of frames after which an object that is not seen is forgotten, and would be a new
            one. This bounds the memory of the model.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        BadFunctionError: The prompts do not fit the labels, a prompt is longer than the model can read, or
            the model does not fit into the memory of the device.
        FunctionLoadError: Transformers is not installed, or the model cannot be loaded.
        ValueError: There is no such device, or an argument is out of its range.
    """
    labels = prompts_for_labels(task_labels, prompts)
    return Sam3WordTrackingFunction(
        load_pretrained("Sam3VideoModel", model, from_pretrained, family="sam3"),
        load_pretrained("Sam3VideoProcessor", model, from_pretrained),
        labels,
        device=device,
        score_threshold=score_threshold,
        tolerance=tolerance,
        lost_after=lost_after,
    )
