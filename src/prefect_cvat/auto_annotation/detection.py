"""Detection functions: their spec, their context and their methods.

The interface is that of `cvat_sdk.auto_annotation` (2.80): a function written for one runs with the
other. A function here may offer more, see `BatchedDetectionFunction`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import PIL.Image

from prefect_cvat import models
from prefect_cvat.attributes import attribute_value_validator
from prefect_cvat.auto_annotation.exceptions import BadFunctionError
from prefect_cvat.auto_annotation.existing_shapes import ExistingShape

__all__ = [
    "AutoAnnotationFunction",
    "BatchedDetectionFunction",
    "DetectionAnnotation",
    "DetectionFunction",
    "DetectionFunctionContext",
    "DetectionFunctionSpec",
    "PipelinedDetectionFunction",
    "VideoDetectionFunction",
]


class AutoAnnotationFunction(Protocol):
    """The common part of all kinds of functions."""

    @property
    def spec(self) -> object:
        """The spec; each kind of function has its own type of spec."""
        ...


@dataclass(frozen=True, kw_only=True)
class DetectionFunctionSpec:
    """The labels, attributes and keypoints that a detection function can produce.

    Attributes:
        labels: The labels, best made by `label_spec`, `skeleton_label_spec` and `keypoint_spec`.
            Ids are unique: of labels in the spec, of sublabels in their label, and of attributes in
            their label or sublabel. Only labels of type `skeleton` have sublabels,
            and those are of type `points`.

    Raises:
        BadFunctionError: One of these rules is broken; the message names the label.
    """

    labels: Sequence[models.PatchedLabelRequest]

    def __post_init__(self) -> None:
        if isinstance(self.labels, str) or not isinstance(self.labels, Iterable):
            raise BadFunctionError(
                f"labels are of type {type(self.labels).__name__!r} (expected a sequence of labels)"
            )
        if not isinstance(self.labels, Sequence):
            object.__setattr__(self, "labels", tuple(self.labels))
        for label in self.labels:
            if not hasattr(label, "name"):
                raise BadFunctionError(
                    f"a label is of type {type(label).__name__!r}; make labels with label_spec"
                )
        label_ids: set[int] = set()
        for label in self.labels:
            name = f"label {label.name!r}"
            _check_id(label, "label", name, label_ids)
            _check_attributes(label, name)
            sublabels = getattr(label, "sublabels", None) or []
            label_type = models.enum_value(getattr(label, "type", None) or "any")
            if sublabels and label_type != "skeleton":
                raise BadFunctionError(
                    f"{name} with sublabels has type {label_type!r} (should be 'skeleton')"
                )
            sublabel_ids: set[int] = set()
            for sublabel in sublabels:
                sublabel_name = f"sublabel {sublabel.name!r} of {name}"
                _check_id(sublabel, "sublabel", sublabel_name, sublabel_ids)
                sublabel_type = models.enum_value(getattr(sublabel, "type", None))
                if sublabel_type != "points":
                    raise BadFunctionError(f"{sublabel_name} has type {sublabel_type!r} (should be 'points')")
                _check_attributes(sublabel, sublabel_name)


def _check_id(item: Any, kind: str, name: str, seen: set[int]) -> None:
    """Check that a label, sublabel or attribute has a unique id."""
    item_id = getattr(item, "id", None)
    if item_id is None:
        raise BadFunctionError(f"{name} has no ID")
    if item_id in seen:
        raise BadFunctionError(f"{name} has same ID as another {kind} ({item_id})")
    seen.add(item_id)


def _check_attributes(owner: Any, owner_name: str) -> None:
    seen: set[int] = set()
    for attribute in getattr(owner, "attributes", None) or []:
        name = f"attribute {attribute.name!r} of {owner_name}"
        _check_id(attribute, "attribute", name, seen)
        try:
            attribute_value_validator(attribute)
        except ValueError as error:
            raise BadFunctionError(f"{name} has invalid values: {error}") from error


class DetectionFunctionContext(abc.ABC):
    """The image and the settings of the run, for a detection function."""

    @property
    @abc.abstractmethod
    def frame_name(self) -> str:
        """The file name of the frame in the task."""

    @property
    @abc.abstractmethod
    def conf_threshold(self) -> float | None:
        """Confidence threshold, 0 to 1; None for the function's own.

        A function without scores may ignore it.
        """

    @property
    @abc.abstractmethod
    def conv_mask_to_poly(self) -> bool:
        """Whether masks must be returned as polygons. A function without masks may ignore it."""

    @property
    def existing_shapes(self) -> Sequence[ExistingShape]:
        """The shapes that are on the frame already, if the function has a true `reads_existing_shapes`.

        Empty for other functions, outside of a run on a task, and in a run of `cvat_sdk`, whose context does
        not have this attribute: read it by `getattr(context, "existing_shapes", ())`.
        """
        return ()


DetectionAnnotation: TypeAlias = models.LabeledImageRequest | models.LabeledShapeRequest


class DetectionFunction(AutoAnnotationFunction, Protocol):
    """A function that finds objects on one image at a time.

    It uses the labels of its `spec`. They are mapped to the task's labels by name, or by the user's label
    map, before the first image is fetched.
    """

    @property
    def spec(self) -> DetectionFunctionSpec:
        """The labels that the function can produce."""
        ...

    def detect(
        self, context: DetectionFunctionContext, image: PIL.Image.Image
    ) -> Sequence[DetectionAnnotation]:
        """Find the objects on an image.

        Args:
            context: The image and the settings of the run.
            image: The frame, upright, in the mode in which it was stored.

        Returns:
            Tags and shapes, best made by `tag`, `rectangle`, `polygon`, ...: coordinates in pixels
            of `image`, `frame` 0, `label_id` and attribute `spec_id` from the spec, neither `id`
            nor `source`, and `score` if known.
        """
        ...


class BatchedDetectionFunction(DetectionFunction, Protocol):
    """A detection function that can take several images at once; all of it is optional.

    `detect_batch` is used instead of `detect` if the function has it. `version` identifies the function in
    the cache of detections. `score_threshold` is the function's confidence threshold where
    `context.conf_threshold` is None: with it, labels may have lower thresholds. If `reads_existing_shapes` is
    true, the run reads the shapes that are on the frames already, `context.existing_shapes` has them, and
    detections are not cached. `close` is called at the end of the run if the function was made for that run.
    """

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> Sequence[Sequence[DetectionAnnotation]]:
        """Find the objects on several images; one sequence of annotations for each image, in order."""
        ...


class PipelinedDetectionFunction(BatchedDetectionFunction, Protocol):
    """A detection function in three steps, of which only the second waits for the device.

    While `infer_batch` runs, other threads preprocess the next images, several at a time, and another one
    postprocesses the outputs of the call before. The three are used instead of `detect` and `detect_batch`
    if the function has `infer_batch`.
    """

    def preprocess_image(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> Any:
        """Make the input of the model for an image; called in several threads at a time."""
        ...

    def infer_batch(
        self, contexts: Sequence[DetectionFunctionContext], inputs: Sequence[Any]
    ) -> Sequence[Any]:
        """Run the model on preprocessed images; return one output for each, in order."""
        ...

    def postprocess(self, context: DetectionFunctionContext, output: Any) -> Sequence[DetectionAnnotation]:
        """Make annotations of the output for an image."""
        ...


class VideoDetectionFunction(DetectionFunction, Protocol):
    """A detection function that finds the objects of a video and follows them from frame to frame itself.

    `track` makes a track of each object. It calls `begin_video`, then `detect`, or the three steps of a
    `PipelinedDetectionFunction`, with the frames one after the other. The `group` of each shape is the number
    of its object, from 1: an object has one shape on a frame, and keeps its number, label and type.

    `dropped_objects` is optional: the numbers of objects that have turned out to be none. Their tracks are
    not written, as far as they have not ended yet.
    """

    def begin_video(self) -> None:
        """Forget all objects: the next frame is the first of a video."""
        ...
