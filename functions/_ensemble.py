"""The function that runs several detection functions; `ensemble.create` makes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import PIL.Image

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunction,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    polygon,
    tag,
)
from prefect_cvat.auto_annotation.function_calls import close_function
from prefect_cvat.auto_annotation.functions._ensemble_labels import EnsembleLabels
from prefect_cvat.auto_annotation.functions._nested_function import detect_on
from prefect_cvat.auto_annotation.functions._weighted_boxes import FusedObject, fuse_boxes
from prefect_cvat.geometry.bounding_box import BoundingBox, bounding_box
from prefect_cvat.inference.detection_calls import DetectionContext
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask, mask_to_polygons
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["EnsembleFunction", "ThreeStepEnsemble", "Weight"]

Weight: TypeAlias = float | Mapping[str, float | None]
"""The weight of a function: one number, or one by label."""


class EnsembleFunction:
    """Runs several detection functions; see `ensemble.create`.

    Args:
        functions: The functions by name.
        closing: What `close` calls; by default it closes the functions that can be closed.
        weights: See `ensemble.create`, as for the following arguments.
        iou: Minimum IoU with the mean box of an object.
        min_votes: Minimum number of functions that find an object.
        score_threshold: Minimum score of an object when the run sets no threshold.
        vote_threshold: Minimum score of a detection of a function.

    Raises:
        BadFunctionError: The labels of the functions do not fit together.
        ValueError: The weights of the functions that have a label are all 0.
    """

    def __init__(
        self,
        functions: Mapping[str, DetectionFunction],
        *,
        closing: Sequence[Callable[[], object]] | None = None,
        weights: Mapping[str, Weight],
        iou: float,
        min_votes: int,
        score_threshold: float,
        vote_threshold: float,
    ) -> None:
        self.functions = dict(functions)
        if closing is None:
            closing = [partial(close_function, function) for function in functions.values()]
        self._closing = closing
        self.score_threshold = score_threshold
        self.vote_threshold = vote_threshold
        self.iou = iou
        self.min_votes = min_votes
        self.weights = {name: weights.get(name, 1.0) for name in functions}
        self._labels = EnsembleLabels(functions)
        self._by_label = {
            label_id: np.array(of_label)
            for label_id, of_label in self._labels.weights(list(self.weights.values())).items()
        }
        if without := [label.name for label in self.spec.labels if not self._by_label[label.id].any()]:
            raise ValueError(
                f"the weights of {', '.join(functions)} for {quoted_list(without)} are all 0; one must be"
                " above 0"
            )
        self._checkers = [OutputChecker(function.spec.labels) for function in functions.values()]

    @property
    def spec(self) -> DetectionFunctionSpec:
        """The labels of all functions."""
        return self._labels.spec

    @property
    def device(self) -> str | None:
        """The device of the functions; None if they have none, or several."""
        devices = {getattr(function, "device", None) for function in self.functions.values()}
        return devices.pop() if len(devices) == 1 else None

    @property
    def nested_functions(self) -> Sequence[DetectionFunction]:
        """The functions that it runs."""
        return list(self.functions.values())

    @property
    def version(self) -> str:
        """A digest of the versions of the functions and of the settings.

        Raises:
            AttributeError: A function has no version.
        """
        versions = [(name, function.version) for name, function in self.functions.items()]
        weights = [
            (name, sorted(w.items()) if isinstance(w, Mapping) else w) for name, w in self.weights.items()
        ]
        settings = (versions, weights, self.iou, self.min_votes, self.score_threshold, self.vote_threshold)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def close(self) -> None:
        """Close the functions that can be closed; of an ensemble for a task, those made for the task."""
        for close in self._closing:
            close()

    def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> list[DetectionAnnotation]:
        """Find the objects on an image.

        Raises:
            BadFunctionError: A function returned something that it must not.
        """
        return self.detect_batch([context], [image])[0]

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> list[list[DetectionAnnotation]]:
        """Find the objects on images. Raises as `detect` does."""
        own = [self._context(context) for context in contexts]
        outputs = [detect_on(function, own, images) for function in self.functions.values()]
        return [
            self._fused(context, image.size, list(of_image))
            for context, image, of_image in zip(contexts, images, zip(*outputs, strict=True), strict=True)
        ]

    def _context(self, context: DetectionFunctionContext) -> DetectionContext:
        """The context for the functions: they return masks, and what may be a vote."""
        return DetectionContext(context.frame_name, conf_threshold=self.vote_threshold)

    def _fused(
        self, context: DetectionFunctionContext, size: tuple[int, int], outputs: Sequence[object]
    ) -> list[DetectionAnnotation]:
        """Fuse what each function has returned for an image."""
        threshold = self.score_threshold if context.conf_threshold is None else context.conf_threshold
        shapes: dict[int, list[tuple[int, LabeledShapeRequest]]] = {}
        tags: dict[int, set[int]] = {}
        for member, output in enumerate(outputs):
            found = self._checkers[member].check(0, output)
            for each in self._labels.renumbered(member, found.tags):
                tags.setdefault(each.label_id, set()).add(member)
            for shape in self._labels.renumbered(member, found.shapes):
                if shape.type in (ShapeType.POINTS, ShapeType.POLYLINE, ShapeType.SKELETON):
                    name = list(self.functions)[member]
                    raise BadFunctionError(
                        f"{name!r} returned a shape of type {shape.type.value!r}; an ensemble compares boxes,"
                        " masks, polygons and tags"
                    )
                shapes.setdefault(shape.label_id, []).append((member, shape))
        kept: list[DetectionAnnotation] = [
            tag(label_id) for label_id, members in sorted(tags.items()) if self._is_carried(label_id, members)
        ]
        fused = [
            shape
            for label_id, of_label in shapes.items()
            for shape in self._of_label(label_id, of_label, threshold)
        ]
        fused.sort(key=lambda shape: -(shape.score or 0.0))
        if context.conv_mask_to_poly:
            return [*kept, *(part for shape in fused for part in _as_polygons(shape, size))]
        return [*kept, *fused]

    def _is_carried(self, label_id: int, members: set[int]) -> bool:
        """Whether functions with half of the weight give a tag, and enough of them."""
        weights = self._by_label[label_id]
        return len(members) >= self._needed(label_id) and weights[list(members)].sum() >= weights.sum() / 2

    def _needed(self, label_id: int) -> int:
        return min(self.min_votes, len(self._labels.known[label_id]))

    def _of_label(
        self, label_id: int, found: Sequence[tuple[int, LabeledShapeRequest]], threshold: float
    ) -> list[LabeledShapeRequest]:
        scores = [1.0 if shape.score is None else shape.score for _, shape in found]
        objects = fuse_boxes(
            np.array([_box(shape) for _, shape in found], dtype=np.float64),
            np.array(scores, dtype=np.float64),
            np.array([member for member, _ in found]),
            self._by_label[label_id],
            self.iou,
        )
        return [
            _shape_of([found[index][1] for index in each.members], each)
            for each in objects
            if each.score >= threshold and len(each.members) >= self._needed(label_id)
        ]


class ThreeStepEnsemble(EnsembleFunction):
    """An ensemble of functions that work in three steps, see `PipelinedDetectionFunction`."""

    def preprocess_image(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> Any:
        """The inputs of the functions for an image, and its size."""
        own = self._context(context)
        inputs = [function.preprocess_image(own, image) for function in self._functions]
        return image.size, inputs

    def infer_batch(self, contexts: Sequence[DetectionFunctionContext], inputs: Sequence[Any]) -> list[Any]:
        """The outputs of the functions for each image."""
        own = [self._context(context) for context in contexts]
        outputs = [
            function.infer_batch(own, [of_image[place] for _, of_image in inputs])
            for place, function in enumerate(self._functions)
        ]
        sizes = [size for size, _ in inputs]
        return list(zip(sizes, zip(*outputs, strict=True), strict=True))

    def postprocess(self, context: DetectionFunctionContext, output: Any) -> list[DetectionAnnotation]:
        """The fused annotations of an image."""
        own = self._context(context)
        size, outputs = output
        found = [
            function.postprocess(own, each) for function, each in zip(self._functions, outputs, strict=True)
        ]
        return self._fused(context, size, found)

    @property
    def _functions(self) -> list[Any]:
        return list(self.functions.values())


def _box(shape: LabeledShapeRequest) -> BoundingBox:
    return bounding_box({"type": shape.type, "points": shape.points, "rotation": shape.rotation})


def _shape_of(shapes: Sequence[LabeledShapeRequest], fused: FusedObject) -> LabeledShapeRequest:
    """The shape of an object: the mean rectangle, or the best of its other shapes."""
    outlined = [each for each in shapes if each.type is not ShapeType.RECTANGLE or each.rotation]
    if outlined:
        return outlined[0].model_copy(update={"score": fused.score})
    return shapes[0].model_copy(update={"points": fused.box.tolist(), "score": fused.score})


def _as_polygons(shape: LabeledShapeRequest, size: tuple[int, int]) -> list[LabeledShapeRequest]:
    """The polygons of a mask; any other shape as it is."""
    if shape.type is not ShapeType.MASK:
        return [shape]
    bitmap = decode_mask(shape.points, image_width=size[0], image_height=size[1])
    return [
        polygon(shape.label_id, points, score=shape.score, attributes=shape.attributes)
        for points in mask_to_polygons(bitmap)
    ]
