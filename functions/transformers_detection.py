"""Models of Hugging Face's transformers that find objects of the classes that they were trained for.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Unpack

import torch

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.auto_annotation.functions._classes import NOT_AN_OBJECT, Classes
from prefect_cvat.auto_annotation.functions._model_function import (
    Item,
    ModelFunction,
    to_float32,
)
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions
from prefect_cvat.auto_annotation.functions._segmentation import Segmentation, segmentation_of
from prefect_cvat.auto_annotation.functions._shapes import mask_shapes
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.functions._transformers import Kind, described, load

__all__ = ["TransformersFunction", "create"]


class TransformersFunction(ModelFunction):
    """Runs a model of transformers; see `create`.

    Args:
        model: A `PreTrainedModel`. It is taken over.
        processor: Its image processor, or for OneFormer its processor of images and words.
        classes: Its classes that are wanted.
        segmentation: How its masks are made; None for a model that finds boxes.
        tolerance: How far polygons may be from the outline of a mask, in pixels.
        **settings: Those of `ModelFunction`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        classes: Classes,
        segmentation: Segmentation | None,
        tolerance: float,
        **settings: Any,
    ) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        super().__init__(model, **settings)
        self.tolerance = tolerance
        self._segmentation = segmentation
        self._processor = processor
        self._classes = classes

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers."""
        label_type = "rectangle" if self._segmentation is None else "mask"
        return DetectionFunctionSpec(
            labels=[label_spec(name, number, type=label_type) for number, name in self._classes.label_names()]
        )

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            self._segmentation,
            sorted(self._classes.names.items()),
            self.tolerance,
            *described(self._loaded_model(), self._processor),
        )

    @torch.inference_mode()
    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        return self._each_alike(self._detect_alike, items)

    def _detect_alike(self, threshold: float, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        model = self._loaded_model()
        images = [to_rgb(image) for _, image in items]
        told = {} if self._segmentation is None else self._segmentation.inputs(len(images))
        inputs = self._processor(images=images, return_tensors="pt", **told).to(self._device)
        with self._autocast():
            outputs = model(**inputs)
        outputs = to_float32(outputs)
        sizes = [(image.height, image.width) for image in images]
        if self._segmentation is None:
            boxes = self._processor.post_process_object_detection(
                outputs, threshold=threshold, target_sizes=sizes
            )
            return [list(self._rectangles(found)) for found in boxes]
        segments = self._segmentation.found(self._processor, outputs, threshold, sizes)
        return [
            list(self._masks(context, threshold, found))
            for (context, _), found in zip(items, segments, strict=True)
        ]

    def _rectangles(self, found: Mapping[str, Any]) -> Iterator[DetectionAnnotation]:
        rows = zip(*(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True)
        for number, score, box in sorted(rows, key=lambda row: -row[1]):
            label_id = self._classes.label_ids.get(number)
            if label_id is not None:
                yield rectangle(label_id, box, score=score)

    def _masks(
        self, context: DetectionFunctionContext, threshold: float, found: Mapping[str, Any]
    ) -> Iterator[DetectionAnnotation]:
        # of stuff, transformers lists each part, with the id of the whole
        by_score = sorted(found["segments_info"], key=lambda segment: segment["score"])
        best = {segment["id"]: segment for segment in by_score}
        for segment in sorted(best.values(), key=lambda segment: -segment["score"]):
            label_id = self._classes.label_ids.get(int(segment["label_id"]))
            if label_id is not None and segment["score"] >= threshold:
                yield from mask_shapes(
                    context,
                    label_id,
                    (found["segmentation"] == segment["id"]).cpu().numpy(),
                    score=segment["score"],
                    tolerance=self.tolerance,
                )


def create(
    model: Any,
    *,
    processor: Any = None,
    segmentation: Literal["instance", "panoptic"] = "instance",
    stuff: Sequence[str] = (),
    score_threshold: float = 0.5,
    tolerance: float = 1.0,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    **from_pretrained: Unpack[PretrainedOptions],
) -> TransformersFunction:
    """Make a detection function of a model of transformers, whose class decides what it finds.

    - Object detection (RF-DETR, RT-DETR and its version 2, D-FINE, DETR, Conditional DETR, Deformable DETR,
      YOLOS, ...): rectangles.
    - Instance and universal segmentation (Mask2Former, MaskFormer, OneFormer, EoMT, DETR, RF-DETR): masks, or
      polygons where the run asks for them. The masks of an image do not overlap.

    For objects that no model was trained for there is `open_vocabulary_detection`.

    Example:
        By name, downloaded from the Hugging Face Hub on first use::

            create("PekingU/rtdetr_v2_r50vd", score_threshold=0.4)

    Args:
        model: A name on the Hub, a folder, or a `PreTrainedModel`, which is moved to the device and put
            into evaluation mode.
        processor: The image processor, for OneFormer the processor; or where to load it from.
            By default it comes from where the model comes from.
        segmentation: What a model that finds masks is asked for: `instance`, or `panoptic`, which gives each
            pixel to at most one segment, also of background such as sky and road.
        stuff: For `panoptic`, the labels without single objects, such as sky: all of it is one mask.
        score_threshold: Minimum score when the run sets no threshold.
        tolerance: How far polygons may be from the outline of the mask, in pixels.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 1. It is halved whenever the memory does not suffice.
            Only images of one size go together, since padding would change what is found.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        FunctionLoadError: Transformers is not installed, or the model cannot be loaded.
        TypeError: `model` is not a model of a kind that is named above; a model object without
            processor, or with options for `from_pretrained`.
        ValueError: The model has no such segmentation, or no such labels as in `stuff`; there is no such
            device; a number is out of its range.
    """
    loaded, processor, kind = load(model, processor, from_pretrained, (Kind.DETECTION, Kind.SEGMENTATION))
    names = {int(number): name for number, name in loaded.config.id2label.items()}
    names = {number: name for number, name in names.items() if name not in NOT_AN_OBJECT}
    return TransformersFunction(
        loaded,
        processor,
        classes=Classes(names),
        segmentation=segmentation_of(loaded, processor, kind, segmentation, stuff, names),
        tolerance=tolerance,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
    )
