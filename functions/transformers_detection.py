"""Models of Hugging Face's transformers: for boxes, masks, and boxes of whatever words describe.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.auto_annotation.functions._classes import NOT_AN_OBJECT, Classes
from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._model_function import (
    Item,
    ModelFunction,
    to_float32,
)
from prefect_cvat.auto_annotation.functions._rgb import to_rgb
from prefect_cvat.auto_annotation.functions._shapes import mask_shapes
from prefect_cvat.auto_annotation.functions._transformers import Kind, kind_of, load, word_scores

__all__ = ["TransformersFunction", "create"]


class TransformersFunction(ModelFunction):
    """Runs a model of transformers; see `create`.

    Args:
        model: A `PreTrainedModel`. It is taken over.
        processor: Its image processor, or its processor of images and words.
        kind: The output type of the model.
        classes: What of that is wanted; their names are the words that a zero-shot model looks for.
        tolerance: How far polygons may be from the outline of a mask, in pixels.
        **settings: Those of `ModelFunction`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        kind: Kind,
        classes: Classes,
        tolerance: float,
        **settings: Any,
    ) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        super().__init__(model, **settings)
        self.kind = kind
        self.tolerance = tolerance
        self._processor = processor
        self._classes = classes

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers, or the places of the words."""
        label_type = "mask" if self.kind is Kind.SEGMENTATION else "rectangle"
        return DetectionFunctionSpec(
            labels=[label_spec(name, number, type=label_type) for number, name in self._classes.label_names()]
        )

    def _settings(self) -> Sequence[object]:
        model: Any = self._loaded_model()
        return (
            *super()._settings(),
            import_extra("transformers").__version__,
            self.kind,
            sorted(self._classes.names.items()),
            self.tolerance,
            # The settings are not all those of the modules' constructors.
            hashlib.sha256(model.config.to_json_string(use_diff=False).encode()).hexdigest(),
            repr(self._processor),
        )

    @torch.inference_mode()
    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        return self._each_alike(self._detect_alike, items)

    def _detect_alike(self, threshold: float, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        model = self._loaded_model()
        images = [to_rgb(image) for _, image in items]
        words = [list(self._classes.names.values())] * len(images)
        text = {"text": words, "padding": True} if self.kind.takes_words else {}
        inputs = self._processor(images=images, return_tensors="pt", **text).to(self._device)
        with self._autocast():
            outputs = model(**inputs)
        outputs = to_float32(outputs)
        sizes = [(image.height, image.width) for image in images]
        return [
            list(self._annotations(context, threshold, found))
            for (context, _), found in zip(items, self._found(inputs, outputs, threshold, sizes), strict=True)
        ]

    def _found(
        self, inputs: Any, outputs: Any, threshold: float, sizes: list[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        """Let the processor make of the outputs what they mean, in pixels of each image."""
        settings = {"threshold": threshold, "target_sizes": sizes}
        match self.kind:
            case Kind.SEGMENTATION:
                found = self._processor.post_process_instance_segmentation(outputs, **settings)
            case Kind.WORDS_IN_SENTENCE:
                # It would return phrases, made of any of the words.
                outputs.logits = word_scores(
                    outputs.logits, inputs["input_ids"], self._processor.tokenizer, self._classes.names
                )
                found = self._image_processor().post_process_object_detection(outputs, **settings)
            case _:
                found = self._image_processor().post_process_object_detection(outputs, **settings)
        return list(found)

    def _image_processor(self) -> Any:
        return getattr(self._processor, "image_processor", self._processor)

    def _annotations(
        self, context: DetectionFunctionContext, threshold: float, found: Mapping[str, Any]
    ) -> Iterator[DetectionAnnotation]:
        if self.kind is Kind.SEGMENTATION:
            for segment in found["segments_info"]:
                label_id = self._classes.label_ids.get(int(segment["label_id"]))
                if label_id is not None and segment["score"] >= threshold:
                    yield from mask_shapes(
                        context,
                        label_id,
                        (found["segmentation"] == segment["id"]).cpu().numpy(),
                        score=segment["score"],
                        tolerance=self.tolerance,
                    )
            return
        rows = zip(*(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True)
        for number, score, box in sorted(rows, key=lambda row: -row[1]):
            label_id = self._classes.label_ids.get(number)
            if label_id is not None:
                yield rectangle(label_id, box, score=score)


def create(
    model: Any,
    *,
    processor: Any = None,
    labels: Sequence[str] | None = None,
    score_threshold: float = 0.5,
    tolerance: float = 1.0,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    **from_pretrained: Any,
) -> TransformersFunction:
    """Make a detection function of a model of transformers, whose class decides what it finds.

    - Object detection (DETR, RT-DETR, YOLOS, ...): rectangles.
    - Instance and universal segmentation (MaskFormer, Mask2Former, DETR): masks, or polygons where
      the run asks for them. The masks of an image do not overlap. OneFormer, which wants to be told
      its task, is not supported.
    - Zero-shot detection (OWL-ViT, OWLv2, Grounding DINO): rectangles of what `labels` describe.

    Example:
        By name, downloaded from the Hugging Face Hub on first use::

            create("PekingU/rtdetr_r50vd", score_threshold=0.4)

        Of what no model was trained for::

            create("google/owlv2-base-patch16", labels=["traffic cone", "puddle"], score_threshold=0.2)

    Args:
        model: A name on the Hub, a folder, or a `PreTrainedModel`, which is moved to the device and put
            into evaluation mode.
        processor: The image processor, or for zero-shot models the processor; or where to load it from.
            By default it comes from where the model comes from.
        labels: The words for which a zero-shot model looks; they are the labels. Others have
            labels of their own.
        score_threshold: Minimum score when the run sets no threshold. Zero-shot models are mostly
            used with 0.1 to 0.3.
        tolerance: How far polygons may be from the outline of the mask, in pixels.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 1. It is halved whenever the memory does not suffice.
            Only images of one size go together, since padding would change what is found.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        FunctionLoadError: Transformers is not installed.
        OSError: There is no such model.
        TypeError: `model` is not a model of a kind that is named above; a model object without
            processor, or with options for `from_pretrained`.
        ValueError: `labels` are missing, or not for this model; there is no such device; a number is
            out of its range.
    """
    transformers = import_extra("transformers")
    if isinstance(labels, str):
        raise TypeError(f"labels must be a list of strings, not {labels!r}")
    if isinstance(model, transformers.PreTrainedModel):
        if from_pretrained:
            raise TypeError(f"only a model by name takes the options {', '.join(sorted(from_pretrained))}")
        if processor is None:
            raise TypeError("a model object needs its processor")
    elif not isinstance(model, str):
        raise TypeError(f"model must be a name or a model of transformers, not {type(model).__name__}")
    loaded, processor = load(model, processor, from_pretrained)
    kind = kind_of(loaded)
    if kind.takes_words:
        if not labels:
            raise ValueError(f"{type(loaded).__name__} needs labels, the words to look for")
        if len(set(labels)) < len(labels):
            raise ValueError(f"labels has a name twice: {', '.join(labels)}")
        if any("." in label or not label.strip() for label in labels):
            raise ValueError(f"labels must not hold full stops, nor be empty: {', '.join(labels)}")
        names = dict(enumerate(labels))
    else:
        if labels is not None:
            raise ValueError(f"{type(loaded).__name__} has labels of its own; leave labels out")
        names = {int(number): name for number, name in loaded.config.id2label.items()}
        names = {number: name for number, name in names.items() if name not in NOT_AN_OBJECT}
    return TransformersFunction(
        loaded,
        processor,
        kind=kind,
        classes=Classes(names),
        tolerance=tolerance,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
    )
