"""Boxes of whatever words describe: Grounding DINO, OWLv2, OmDet-Turbo and their like.

They are models of Hugging Face's transformers, an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Unpack

import torch
from torchvision.ops import batched_nms, nms

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.auto_annotation.functions._grounding_dino import GroundingDino
from prefect_cvat.auto_annotation.functions._model_function import Item, ModelFunction
from prefect_cvat.auto_annotation.functions._omdet_turbo import OmDetTurbo
from prefect_cvat.auto_annotation.functions._owl import Owl
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.functions._transformers import Kind, described, is_a, load
from prefect_cvat.auto_annotation.functions._word_models import Found, WordModel
from prefect_cvat.auto_annotation.label_prompts import LabelPrompts, prompts_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import Prompts, TaskLabel
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list

__all__ = ["OpenVocabularyFunction", "create"]

logger = logging.getLogger(__name__)

_MODELS: dict[str, tuple[type[WordModel], float]] = {
    "GroundingDinoForObjectDetection": (GroundingDino, 0.3),
    "MMGroundingDinoForObjectDetection": (GroundingDino, 0.3),
    "OmDetTurboForObjectDetection": (OmDetTurbo, 0.3),
    "OwlViTForObjectDetection": (Owl, 0.1),
    "Owlv2ForObjectDetection": (Owl, 0.2),
}
"""The models by their class in transformers, with their confidence thresholds."""


class OpenVocabularyFunction(ModelFunction):
    """Finds what the words for the labels of a task describe; see `create`.

    Args:
        model: A `PreTrainedModel`. It is taken over.
        processor: Its processor of images and words.
        prompts: The labels, with what to look for.
        iou: Greatest IoU of two boxes of one label.
        iou_across_labels: Greatest IoU of two boxes of different labels.
        **settings: Those of `ModelFunction`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        prompts: Sequence[LabelPrompts],
        iou: float,
        iou_across_labels: float,
        **settings: Any,
    ) -> None:
        for name, value in (("iou", iou), ("iou_across_labels", iou_across_labels)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {value}")
        super().__init__(model, **settings)
        self.prompts = tuple(prompts)
        self.iou = iou
        self.iou_across_labels = iou_across_labels
        words = [word for each in prompts for word in each.words]
        self._labels_of_words = torch.tensor(
            [number for number, each in enumerate(prompts) for _ in each.words]
        )
        family, _ = _family(model)
        self._words: WordModel | None = family(model, processor, words)
        self._processor = processor

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels of the task that words can find; their ids are their places among these."""
        return DetectionFunctionSpec(
            labels=[
                label_spec(each.label.name, number, type="rectangle")
                for number, each in enumerate(self.prompts)
            ]
        )

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._words = None
        super().close()

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            [(each.label.name, each.words) for each in self.prompts],
            self.iou,
            self.iou_across_labels,
            *described(self._loaded_model(), self._processor),
        )

    @torch.inference_mode()
    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        return self._each_alike(self._detect_alike, items)

    def _detect_alike(self, threshold: float, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        if self._words is None:
            raise RuntimeError("the function is closed")
        images = [to_rgb(image) for _, image in items]
        with self._autocast():
            found = self._words.find(images, threshold, is_best_only=self.iou_across_labels < 1)
        return [self._annotations(of_image) for of_image in found]

    def _annotations(self, groups: Sequence[Found]) -> list[DetectionAnnotation]:
        """Make rectangles of what was found, the best first. Of two that overlap, the better one stays."""
        boxes = torch.cat([each.boxes for each in groups]).float().cpu()
        scores = torch.cat([each.scores for each in groups]).float().cpu()
        labels = self._labels_of_words[torch.cat([each.words for each in groups]).cpu()]
        kept = batched_nms(boxes, scores, labels, self.iou)
        kept = kept[nms(boxes[kept], scores[kept], self.iou_across_labels)]
        rows = zip(labels[kept].tolist(), boxes[kept].tolist(), scores[kept].tolist(), strict=True)
        return [rectangle(label_id, box, score=score) for label_id, box, score in rows]


def create(
    *,
    task_labels: Sequence[TaskLabel],
    prompts: Prompts | None = None,
    model: Any = "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
    processor: Any = None,
    score_threshold: float | None = None,
    iou: float = 0.5,
    iou_across_labels: float = 0.8,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    **from_pretrained: Unpack[PretrainedOptions],
) -> OpenVocabularyFunction:
    """Make a detection function that finds what the labels of a task are called.

    It needs no training and no label map: it looks for the name of each label, or for the words that
    `prompts` gives. It finds rectangles, for labels of the types `rectangle` and `any`; others are left
    out. The models:

    - Grounding DINO and MM Grounding DINO read about 60 short labels at once; each further 60 make it slower.
    - OWL-ViT and OWLv2 compare all labels with an image at once, however many there are.
    - OmDet-Turbo, which is made for speed, reads about 20 at once.

    Example:
        For a task, `prefect-cvat annotate 12 --function open_vocabulary_detection`. In Python, for images::

            labels = [TaskLabel("person", "rectangle"), TaskLabel("traffic_cone", "rectangle")]
            create(task_labels=labels, prompts={"person": "a person, a pedestrian"})

    Args:
        task_labels: The labels of the task.
        prompts: Words by label: `"a person, a pedestrian"` looks for both. None leaves a label out.
        model: A name on the Hugging Face Hub, downloaded on first use; a folder; or a `PreTrainedModel`,
            which is moved to the device and put into evaluation mode.
        processor: The processor, or where to load it from; by default from where the model comes.
        score_threshold: Minimum score when the run sets no threshold; by default 0.3, for OWLv2 0.2, for
            OWL-ViT 0.1.
        iou: Greatest overlap of two boxes of one label, as intersection over union, 0 to 1. Of two that
            overlap more, the one with the better score stays.
        iou_across_labels: The same for two boxes of different labels: an object that two labels describe
            gets the better one. 1 gives it both.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 1. It is halved whenever the memory does not suffice.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        BadFunctionError: There is no label for boxes, or no words for a label, or words that the model
            cannot read.
        FunctionLoadError: Transformers is not installed, or the model cannot be loaded.
        TypeError: `model` is not a model that takes words, its processor does not read words, or a model
            object came without its processor.
        ValueError: There is no such device, or a number is out of its range.
    """
    wanted = _for_rectangles(prompts_for_labels(task_labels, prompts), given=prompts or {})
    loaded, processor, _ = load(model, processor, from_pretrained, (Kind.WORDS,))
    _check_reads_words(loaded, processor)
    return OpenVocabularyFunction(
        loaded,
        processor,
        prompts=wanted,
        iou=iou,
        iou_across_labels=iou_across_labels,
        score_threshold=_family(loaded)[1] if score_threshold is None else score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
    )


def _check_reads_words(model: Any, processor: Any) -> None:
    """Check that the processor has the tokenizer of the model.

    Raises:
        TypeError: It has none, or one with an empty vocabulary: transformers makes that if files are missing.
    """
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        lacks = "reads no words"
    elif len(tokenizer) < model.config.text_config.vocab_size / 2:
        lacks = (
            f"has a tokenizer of {len(tokenizer)} tokens, where {model.config.text_config.vocab_size} belong"
        )
    else:
        return
    raise TypeError(
        f"the processor of {type(model).__name__} is {type(processor).__name__}, which {lacks}; give"
        " processor, the name or the folder of one with the tokenizer of the model"
    )


def _family(model: Any) -> tuple[type[WordModel], float]:
    """How a model is used, and its confidence threshold.

    Raises:
        TypeError: It takes words in another way.
    """
    for class_name, family in _MODELS.items():
        if is_a(model, class_name):
            return family
    raise TypeError(f"{type(model).__name__} is not supported; there are {', '.join(_MODELS)}")


def _for_rectangles(found: Sequence[LabelPrompts], given: Prompts) -> list[LabelPrompts]:
    """The labels that can have rectangles.

    Raises:
        BadFunctionError: There are none, or there are prompts for another one.
    """
    wanted, others = [], []
    for each in found:
        if each.label.type in ("any", "rectangle"):
            wanted.append(each)
        else:
            others.append(each.label)
    described = quoted_list([f"{label.name} ({label.type})" for label in others])
    if not wanted:
        raise BadFunctionError(
            f"this function finds rectangles, which no label of the task can have: {described}; use"
            " sam3_detection for masks and polygons"
        )
    if any(label.name in given for label in others):
        raise BadFunctionError(
            f"there are {argument('prompts')} for labels that cannot have rectangles: {described};"
            " give null for them"
        )
    if others:
        logger.info("labels that cannot have rectangles are left out: %s", described)
    return wanted
