"""Several detection functions as one: what they agree on has a high score, what only one finds a low one.

Boxes that several functions have found of an object are averaged (weighted boxes fusion). The score of an
object is the weighted mean of the scores of all functions that have its label, 0 for those that have not
found it. So their disagreement lowers the score, by which reports say what to look at first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

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
from prefect_cvat.auto_annotation.functions._named_functions import named_functions
from prefect_cvat.auto_annotation.functions._nested_function import detect_on
from prefect_cvat.auto_annotation.functions._weighted_boxes import FusedObject, fuse_boxes
from prefect_cvat.geometry.bounding_box import BoundingBox, bounding_box
from prefect_cvat.inference.detection_calls import DetectionContext
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask, mask_to_polygons
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["EnsembleFunction", "ThreeStepEnsemble", "create"]

Weight = float | Mapping[str, float | None]


def create(
    functions: Mapping[str, DetectionFunction | str] | Sequence[DetectionFunction | str] | None = None,
    *,
    weights: Mapping[str, Weight] | None = None,
    iou: float = 0.55,
    min_votes: int = 1,
    score_threshold: float = 0.3,
    vote_threshold: float = 0.05,
    **named: Any,
) -> EnsembleFunction:
    """Make a detection function of several others.

    Labels with the same name are one label. Rectangles of an object are averaged; of its masks, polygons,
    ellipses or cuboids, which are compared by their bounding boxes, the one with the best score stays. A tag
    stays if functions with at least half of the weight give it.

    Example:
        `create(near="nanodet_detection", tiles="tiled", **{"tiles.function": "nanodet_detection"})`, on the
        command line `-p near=str:nanodet_detection -p tiles=str:tiled -p
        tiles.function=str:nanodet_detection`.

    Args:
        functions: Two or more functions, or names of functions, such as `nanodet_detection`.
        weights: The weight of each function by its name here; one number, or one by label, such as its
            average precision in an evaluation. Labels that are not named get the mean of those that are.
        iou: Minimum IoU with the mean box of an object, 0 to 1.
        min_votes: Minimum number of functions that find an object; if fewer have its label, all of these.
        score_threshold: Minimum score of an object when the run sets no threshold.
        vote_threshold: Minimum score of a detection of a function, 0 to 1: it may be a second vote for what
            another function is sure of.
        **named: Functions by names of your choice, and as `NAME.PARAMETER` the parameters of one that is
            given by its name.

    Raises:
        TypeError: A parameter belongs to no function, or to one that is not given by its name; or something
            is no function.
        ValueError: There are fewer than two functions, or a number is out of its range.
        FunctionLoadError: There is no function of a name, or it cannot be made.
        BadFunctionError: The labels of the functions do not fit together.
    """
    for name, value in {
        "iou": iou, "score_threshold": score_threshold, "vote_threshold": vote_threshold
    }.items():  # fmt: skip
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")
    members = named_functions(functions, named)
    if min_votes < 1 or min_votes > len(members):
        raise ValueError(f"min_votes must be between 1 and {len(members)}, not {min_votes}")
    given = dict(weights or {})
    if strangers := sorted(given.keys() - members.keys()):
        raise ValueError(f"weights names {', '.join(strangers)}; the functions are {', '.join(members)}")
    for name, weight in given.items():
        values = (
            [each for each in weight.values() if each is not None]
            if isinstance(weight, Mapping)
            else [weight]
        )
        if any(value <= 0 for value in values):
            raise ValueError(f"the weights of {name} must be more than 0, not {weight}")
    has_steps = all(hasattr(each, "infer_batch") for each in members.values())
    return (ThreeStepEnsemble if has_steps else EnsembleFunction)(
        members,
        weights=given,
        iou=iou,
        min_votes=min_votes,
        score_threshold=score_threshold,
        vote_threshold=vote_threshold,
    )


class EnsembleFunction:
    """Runs several detection functions; see `create`."""

    def __init__(
        self,
        functions: Mapping[str, DetectionFunction],
        *,
        weights: Mapping[str, Weight],
        iou: float,
        min_votes: int,
        score_threshold: float,
        vote_threshold: float,
    ) -> None:
        self.functions = dict(functions)
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
    def version(self) -> str:
        """A digest of the versions of the functions and of the settings.

        Raises:
            AttributeError: A function has no version.
        """
        versions = [(name, function.version) for name, function in self.functions.items()]  # type: ignore[attr-defined]
        weights = [
            (name, sorted(w.items()) if isinstance(w, Mapping) else w) for name, w in self.weights.items()
        ]
        settings = (versions, weights, self.iou, self.min_votes, self.score_threshold, self.vote_threshold)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def close(self) -> None:
        """Close the functions that can be closed."""
        for function in self.functions.values():
            close_function(function)

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
