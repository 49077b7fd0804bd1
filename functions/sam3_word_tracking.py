"""SAM 3 of Hugging Face's transformers: finds in videos what the labels of the task are called.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    shape,
)
from prefect_cvat.auto_annotation.functions._device_memory import suggesting_the_cpu
from prefect_cvat.auto_annotation.functions._inference import choose_device
from prefect_cvat.auto_annotation.functions._label_prompts import LabelPrompts, prompts_for_labels
from prefect_cvat.auto_annotation.functions._pretrained import load_pretrained
from prefect_cvat.auto_annotation.functions._rgb import to_rgb
from prefect_cvat.auto_annotation.functions._sam3 import MODEL, enlarged, list_prompts, spec_labels
from prefect_cvat.auto_annotation.functions._sam3_session import FollowedObject, Sam3Session
from prefect_cvat.auto_annotation.functions._shapes import mask_points
from prefect_cvat.auto_annotation.task_labels import Prompts, TaskLabel

__all__ = ["Sam3WordTrackingFunction", "create"]


@dataclass(frozen=True)
class _Input:
    """A preprocessed image: `[3, H, W]`, of the size that the model takes; and the size of the image."""

    pixels: Tensor
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """The memory of the pixels."""
        return self.pixels.nbytes


@dataclass(frozen=True)
class _Output:
    """The objects on an image, and its size."""

    objects: list[FollowedObject]
    size: tuple[int, int]


class Sam3WordTrackingFunction:
    """Finds and follows objects with SAM 3; see `create`.

    Args:
        model: A `Sam3VideoModel`. It is taken over.
        processor: Its processor.
        labels: The labels and their words.
        device: Where the model runs.
        score_threshold: Minimum score of an object when it is found first.
        tolerance: How far polygons may be from the outline of a mask, in pixels.
        lost_after: Number of frames after which an object that is not seen is forgotten.
    """

    batch_size = 1
    """The frames of a video come one after the other."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        labels: Sequence[LabelPrompts],
        *,
        device: torch.device,
        score_threshold: float,
        tolerance: float,
        lost_after: int,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold must be between 0 and 1, not {score_threshold}")
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        if lost_after < 1:
            raise ValueError(f"lost_after must be 1 or more, not {lost_after}")
        self.score_threshold = score_threshold
        self.tolerance = tolerance
        self._lost_after = lost_after
        self._device = device
        self._processor = processor
        self._labels = tuple(labels)
        self._prompts = list_prompts(labels, processor.tokenizer)
        self._matching_threshold = model.score_threshold_detection
        self._model = model.to(device).eval()
        self.begin_video()

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels that are looked for, as the task has them."""
        return DetectionFunctionSpec(labels=spec_labels(self._labels))

    @property
    def device(self) -> str:
        """The device of the model, such as `cuda:0`."""
        return str(self._device)

    def begin_video(self) -> None:
        """Forget all objects: the next image is the first of a video."""
        words = [prompt.words for prompt in self._prompts]
        self._session = Sam3Session(
            self._model, self._processor, words, self._device, lost_after=self._lost_after
        )

    @property
    def dropped_objects(self) -> frozenset[int]:
        """The numbers of objects that have turned out to be none, or another one's."""
        return self._session.dropped

    def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> list[DetectionAnnotation]:
        """Find and follow the objects on the next image of a video."""
        [output] = self.infer_batch([context], [self.preprocess_image(context, image)])
        return self.postprocess(context, output)

    def preprocess_image(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> _Input:  # noqa: ARG002
        """Resize an image of any mode; may be called in several threads at a time."""
        pixels = self._processor.image_processor(to_rgb(image), return_tensors="pt")["pixel_values"][0]
        return _Input(pixels, image.size)

    def infer_batch(
        self, contexts: Sequence[DetectionFunctionContext], inputs: Sequence[_Input]
    ) -> list[_Output]:
        """Find and follow the objects on the next images of a video.

        Raises:
            BadFunctionError: The objects on an image do not fit into the memory of the device.
        """
        outputs = []
        for context, each in zip(contexts, inputs, strict=True):
            threshold = context.conf_threshold
            self._model.new_det_thresh = self.score_threshold if threshold is None else threshold
            # what is found again need not be found as surely as what is new
            self._model.score_threshold_detection = min(self._matching_threshold, self._model.new_det_thresh)
            with suggesting_the_cpu(self._device, "SAM 3 with the objects of a frame"):
                outputs.append(_Output(self._session.advance(each.pixels), each.size))
        return outputs

    def postprocess(self, context: DetectionFunctionContext, output: _Output) -> list[DetectionAnnotation]:
        """Make shapes of the objects on an image; `group` is the number of the object."""
        return list(self._shapes(context, output))

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        del self._model, self._session

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
    **from_pretrained: Any,
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
    chosen = choose_device(device)
    loaded = load_pretrained("Sam3VideoModel", model, from_pretrained)
    processor = load_pretrained("Sam3VideoProcessor", model, from_pretrained)
    with suggesting_the_cpu(chosen, "SAM 3 for video"):
        return Sam3WordTrackingFunction(
            loaded,
            processor,
            labels,
            device=chosen,
            score_threshold=score_threshold,
            tolerance=tolerance,
            lost_after=lost_after,
        )
