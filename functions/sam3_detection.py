"""SAM 3 of Hugging Face's transformers: finds on images what the labels of the task are called.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Unpack

import numpy as np
import PIL.Image

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    rectangle,
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
from prefect_cvat.auto_annotation.functions._sam3_exemplars import (
    Exemplars,
    exemplars_of,
)
from prefect_cvat.auto_annotation.functions._sam3_prompting import (
    Found,
    Question,
    Sam3Prompting,
    different_objects,
)
from prefect_cvat.auto_annotation.functions._shapes import mask_shapes
from prefect_cvat.auto_annotation.label_prompts import LabelPrompts, prompts_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import Prompts, TaskLabel

__all__ = ["Sam3DetectionFunction", "create"]


@dataclass(frozen=True)
class _Output:
    """What was found on an image.

    Attributes:
        size: Width and height of the image in pixels.
        exemplars: Its exemplars.
        found: What each prompt has found.
    """

    size: tuple[int, int]
    exemplars: Exemplars
    found: list[Found]


class Sam3DetectionFunction(ModelFunction):
    """Finds objects with SAM 3; see `create`.

    Args:
        model: A `Sam3Model`. It is taken over.
        processor: Its processor.
        labels: The labels and their words.
        exemplars: `manual`, or None.
        tolerance: How far polygons may be from the outline of a mask, in pixels.
        **settings: Those of `ModelFunction`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        labels: Sequence[LabelPrompts],
        *,
        exemplars: str | None,
        tolerance: float,
        **settings: Any,
    ) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        if exemplars not in (None, "manual"):
            raise ValueError(f"exemplars must be 'manual' or None, not {exemplars!r}")
        super().__init__(model, **settings)
        if exemplars and self._half_precision and self._device.type == "cpu":
            # torchvision 0.29: "Unexpected floating ScalarType in at::autocast::prioritize" of roi_align
            raise ValueError("exemplars cannot be used with half_precision on a CPU; leave out one of them")
        self.tolerance = tolerance
        self.exemplars = exemplars
        self._processor = processor
        self._labels = tuple(labels)
        self._prompts = list_prompts(labels, processor.tokenizer)
        self._prompting = Sam3Prompting(
            [prompt.words for prompt in self._prompts], processor, self._device, self._autocast
        )

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels that are looked for, as the task has them."""
        return DetectionFunctionSpec(labels=spec_labels(self._labels))

    @property
    def reads_existing_shapes(self) -> bool:
        """Whether the shapes on the frames are exemplars."""
        return self.exemplars is not None

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            *described(self._loaded_model(), self._processor, self._labels),
            self.exemplars,
            self.tolerance,
        )

    def preprocess_image(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> Input:  # noqa: ARG002
        """Resize an image of any mode; may be called in several threads at a time."""
        return prepare_image(self._processor, image)

    def infer_batch(
        self, contexts: Sequence[DetectionFunctionContext], inputs: Sequence[Input]
    ) -> list[_Output]:
        """Look for all labels on images.

        Raises:
            BadFunctionError: Not even one image and one prompt fit into the memory of the device.
            RuntimeError: The function is closed.
        """
        return self._in_batches(self._infer_together, list(zip(contexts, inputs, strict=True)))

    def postprocess(self, context: DetectionFunctionContext, output: _Output) -> list[DetectionAnnotation]:
        """Make shapes of what was found on an image."""
        return list(self._annotations(context, output))

    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        outputs = self._infer_together(
            [(context, self.preprocess_image(context, image)) for context, image in items]
        )
        return [
            self.postprocess(context, output) for (context, _), output in zip(items, outputs, strict=True)
        ]

    def _infer_together(self, items: Sequence[tuple[DetectionFunctionContext, Input]]) -> list[_Output]:
        outputs = [
            _Output(each.size, exemplars_of(context, each.size) if self.reads_existing_shapes else {}, [])
            for context, each in items
        ]
        questions = [
            Question(
                image=image,
                prompt=number,
                threshold=self._threshold(context),
                exemplars=outputs[image].exemplars.get(prompt.label_id, ()),
                wants_masks=self.spec.labels[prompt.label_id].type != "rectangle",
            )
            for image, (context, _) in enumerate(items)
            for number, prompt in enumerate(self._prompts)
        ]
        answers = self._prompting.ask(self._loaded_model(), [each.pixels for _, each in items], questions)
        for question, found in zip(questions, answers, strict=True):
            outputs[question.image].found.append(found)
        return outputs

    def _annotations(
        self, context: DetectionFunctionContext, output: _Output
    ) -> Iterator[DetectionAnnotation]:
        of_prompts = zip(self._prompts, output.found, strict=True)
        for label_id, of_label in groupby(of_prompts, lambda pair: pair[0].label_id):
            found = [each for _, each in of_label]
            for each, index in different_objects(found, output.exemplars.get(label_id, ())):
                score = float(each.scores[index])
                if each.masks is None:
                    box = each.boxes[index] * np.array([*output.size, *output.size])
                    yield rectangle(label_id, box.tolist(), score=score)
                    continue
                part, offset = enlarged(each.masks[index], output.size, 0.5)
                yield from mask_shapes(
                    context,
                    label_id,
                    part,
                    score=score,
                    offset=offset,
                    tolerance=self.tolerance,
                    as_polygons=self.spec.labels[label_id].type == "polygon" or None,
                )


def create(
    *,
    task_labels: Sequence[TaskLabel],
    prompts: Prompts | None = None,
    model: str = MODEL,
    exemplars: str | None = None,
    score_threshold: float = 0.5,
    tolerance: float = 1.0,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    **from_pretrained: Unpack[PretrainedOptions],
) -> Sam3DetectionFunction:
    """Make a detection function that finds what the labels of the task are called.

    The type of a label decides what its objects become: masks, polygons or rectangles; objects of a label of
    any type become masks, or polygons where the run asks for them. Masks of an image may overlap.

    With `exemplars="manual"`, shapes that people have drawn or corrected on a frame show the model what to
    look for on this frame, in addition to the words: draw one object, and the run finds the others. Shapes
    that a run wrote and people have deleted show what not to look for. Neither is found again. The model
    takes exemplars of the same image only; frames without any are searched by the words alone.

    Example:
        `create(task_labels=labels, prompts={"sign": "traffic sign, road sign"}, exemplars="manual")`

    Args:
        task_labels: The labels of the task; a run gives them.
        prompts: What to look for, by label: words, several wordings, or None to leave the label out. Labels
            that are not named are looked for by their name.
        model: A name on the Hugging Face Hub, downloaded on first use, or a folder. `facebook/sam3` is given
            to those who accept its licence.
        exemplars: `manual`, or None to use the words alone.
        score_threshold: Minimum score when the run sets no threshold.
        tolerance: How far polygons may be from the outline of the mask, in pixels.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model encodes at once; by default the fastest,
            which is found while it works, on a CPU 1. It is halved whenever the memory does not suffice. How
            many prompts go together is found in the same way.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        BadFunctionError: The prompts do not fit the labels, a prompt is longer than the model can read, or
            the model does not fit into the memory of the device.
        FunctionLoadError: Transformers is not installed, or the model cannot be loaded.
        ValueError: There is no such device, or an argument is out of its range.
    """
    labels = prompts_for_labels(task_labels, prompts)
    return Sam3DetectionFunction(
        load_pretrained("Sam3Model", model, from_pretrained, family="sam3"),
        load_pretrained("Sam3Processor", model, from_pretrained),
        labels,
        exemplars=exemplars,
        tolerance=tolerance,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
    )
