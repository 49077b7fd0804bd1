"""Models of ultralytics: YOLO in all its versions, RT-DETR, for boxes, masks, skeletons, turned boxes, tags.

Ultralytics is an extra: `pip install "prefect-cvat[ultralytics]"`. It, and the weights that it
publishes, are under AGPL-3.0, or a licence that its makers sell; prefect-cvat itself is not, and
neither contains nor needs it.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import PIL.Image
from torch import nn

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
    rectangle,
    skeleton,
    tag,
)
from prefect_cvat.auto_annotation.functions._classes import Classes
from prefect_cvat.auto_annotation.functions._model_function import Item, ModelFunction
from prefect_cvat.auto_annotation.functions._shapes import COCO_KEYPOINTS, Keypoints, mask_shapes
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.functions._ultralytics import (
    import_ultralytics,
    make_predictor,
    mask_in_box,
    quiet,
)

__all__ = ["UltralyticsFunction", "create"]

LABEL_TYPES = {
    "detect": "rectangle",
    "segment": "mask",
    "pose": "skeleton",
    "obb": "rectangle",
    "classify": "tag",
}
"""The type of the labels by the task of the model."""


class UltralyticsFunction(ModelFunction):
    """Runs a model of ultralytics; see `create`.

    Args:
        yolo: An `ultralytics.YOLO`, or another model of ultralytics. It is taken over.
        iou: See `create`, as for the other arguments.
        image_size: See there.
        keypoints: What a pose model finds; None for others.
        keypoint_threshold: See there.
        tolerance: See there.
        top_k: See there.
        score_threshold: See there.
        **settings: Those of `ModelFunction`.
    """

    def __init__(
        self,
        yolo: Any,
        *,
        iou: float,
        image_size: int | tuple[int, int],
        keypoints: Keypoints | None,
        keypoint_threshold: float,
        tolerance: float,
        top_k: int,
        **settings: Any,
    ) -> None:
        super().__init__(yolo.model, **settings)
        self.task: str = yolo.task
        self.iou = iou
        self.image_size = image_size
        self.keypoints = keypoints
        self.keypoint_threshold = keypoint_threshold
        self.tolerance = tolerance
        self.top_k = top_k
        self._classes = Classes({int(number): str(name) for number, name in yolo.names.items()})
        self._predictor = make_predictor(
            yolo, device=self._device, iou=iou, image_size=image_size, autocast=self._autocast
        )
        # What it made of the model: layers fused, on the device.
        self._model = self._predictor.model.model

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers."""
        return DetectionFunctionSpec(
            labels=[self._label(number, name) for number, name in self._classes.label_names()]
        )

    def _label(self, number: int, name: str) -> models.PatchedLabelRequest:
        if self.keypoints is not None:
            return self.keypoints.label(number, name)
        return label_spec(name, number, type=LABEL_TYPES[self.task])

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            import_ultralytics().__version__,
            self.task,
            sorted(self._classes.names.items()),
            (self.iou, self.image_size, self.tolerance, self.top_k),
            self.keypoints and (self.keypoints.names, self.keypoints.hidden, self.keypoint_threshold),
        )

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._predictor = None
        super().close()

    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        self._loaded_model()
        with quiet():
            return self._each_alike(self._detect_alike, items)

    def _detect_alike(self, threshold: float, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        # Arrays, not images: those it would turn by their EXIF data. Its arrays are BGR.
        arrays = [np.ascontiguousarray(np.asarray(to_rgb(image))[..., ::-1]) for _, image in items]
        self._predictor.args.conf = threshold
        results = self._predictor(arrays)
        return [
            list(self._annotations(context, image, threshold, result))
            for (context, image), result in zip(items, results, strict=True)
        ]

    def _annotations(
        self, context: DetectionFunctionContext, image: PIL.Image.Image, threshold: float, result: Any
    ) -> Iterator[DetectionAnnotation]:
        if self.task == "classify":
            yield from self._tags(result.probs.data.tolist(), threshold)
            return
        boxes = (result.obb if self.task == "obb" else result.boxes).cpu()
        keypoints = result.keypoints.data.tolist() if self.task == "pose" else []
        for index, (number, score) in enumerate(zip(boxes.cls.tolist(), boxes.conf.tolist(), strict=True)):
            label_id = self._classes.label_ids[int(number)]
            match self.task:
                case "detect":
                    yield rectangle(label_id, boxes.xyxy[index].tolist(), score=score)
                case "segment":
                    probabilities, offset = mask_in_box(result, index, boxes.xyxy[index], image.size)
                    yield from mask_shapes(
                        context,
                        label_id,
                        probabilities,
                        score=score,
                        offset=offset,
                        tolerance=self.tolerance,
                    )
                case "pose":
                    yield self._skeleton(label_id, keypoints[index], score)
                case "obb":
                    yield _turned_rectangle(label_id, boxes.xywhr[index].tolist(), score)

    def _tags(self, probabilities: Sequence[float], threshold: float) -> Iterator[DetectionAnnotation]:
        best = sorted(range(len(probabilities)), key=lambda number: -probabilities[number])[: self.top_k]
        likely = [number for number in best if probabilities[number] >= threshold]
        for label_id in dict.fromkeys(self._classes.label_ids[number] for number in likely):
            yield tag(label_id)

    def _skeleton(
        self, label_id: int, keypoints: Sequence[Sequence[float]], score: float
    ) -> DetectionAnnotation:
        assert self.keypoints is not None
        # A model without confidences finds x and y only.
        seen = [len(each) < 3 or each[2] >= self.keypoint_threshold for each in keypoints]
        places = [each[:2] for each in keypoints]
        return skeleton(label_id, self.keypoints.elements(places, seen, score), score=score)


def _turned_rectangle(label_id: int, box: Sequence[float], score: float) -> DetectionAnnotation:
    """Make a rectangle of centre, width, height, and radians by which it is turned clockwise."""
    x, y, width, height, angle = box
    points = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    # A tiny negative angle is 360 degrees after rounding.
    return rectangle(label_id, points, rotation=math.degrees(angle) % 360 % 360, score=score)


def create(
    model: Any,
    *,
    score_threshold: float = 0.25,
    iou: float = 0.7,
    image_size: int | tuple[int, int] | None = None,
    keypoint_names: Sequence[str] | None = None,
    keypoint_threshold: float = 0.5,
    hidden: Literal["occluded", "outside"] = "occluded",
    tolerance: float = 1.0,
    top_k: int = 1,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
) -> UltralyticsFunction:
    """Make a detection function of a model of ultralytics, whose task decides what it finds.

    Detection gives rectangles, segmentation masks (or polygons, where the run asks for them), pose
    skeletons, oriented boxes turned rectangles, classification tags. Images of one size go through
    the model together; they are resized and padded as `YOLO.predict` does it for one image. At most
    300 objects of an image are returned.

    Ultralytics is kept quiet: it prints nothing, sends no usage data and installs no packages.

    Example:
        Of a file, with skeletons of a model of one's own::

            create("best-pose.pt", keypoint_names=["head", "tail"], image_size=960)

    Args:
        model: A file of weights (`.pt`), or an object such as `ultralytics.YOLO`, which is copied.
            A file is a pickle: loading it runs what its maker put there, so take it only from where
            you would take a program. A name such as `yolo11n.pt` that is no file is downloaded by
            ultralytics.
        score_threshold: Minimum score when the run sets no threshold.
        iou: Of two boxes of a class that overlap by more than this, the one with the lesser score is
            dropped (intersection over union, 0 to 1). Models without non-maximum suppression ignore it.
        image_size: To what the longer side of an image is resized, or (height, width), in pixels; for
            classification the size of the part in the middle. Rounded up to the model's stride. By
            default that for which the weights were made, or else 640 (for classification 224).
        keypoint_names: The names of a pose model's keypoints, in its order; further keypoints are
            dropped. By default COCO's if there are 17, or else `0`, `1`, ...
        keypoint_threshold: Minimum confidence of a visible keypoint, 0 to 1.
        hidden: How invisible keypoints are marked: `occluded`, at their predicted position, or
            `outside` of the image.
        tolerance: How far polygons may be from the outline of the mask, in pixels.
        top_k: The greatest number of tags of an image.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 1. It is halved whenever the memory does not suffice.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.

    Raises:
        FunctionLoadError: Ultralytics is not installed.
        FileNotFoundError: There is no such file.
        TypeError: `model` is neither a string nor a model of ultralytics, or not one of torch.
        ValueError: The model is for a task that has no annotations in CVAT; there is no such device;
            names are doubled; a number is out of its range.
    """
    for name, value in (("iou", iou), ("keypoint_threshold", keypoint_threshold)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")
    if tolerance < 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
    if top_k < 1:
        raise ValueError(f"top_k must be 1 or more, not {top_k}")
    ultralytics = import_ultralytics()
    with quiet():
        if isinstance(model, str | os.PathLike):
            yolo = ultralytics.YOLO(model)
        elif isinstance(model, import_ultralytics("engine.model").Model):
            yolo = copy.copy(model)
            yolo.__dict__ = {**vars(model), "model": copy.deepcopy(model.model)}
        else:
            raise TypeError(f"model must be a file or a model of ultralytics, not {type(model).__name__}")
    if not isinstance(yolo.model, nn.Module):
        raise TypeError(f"{yolo.model!r} is an exported model; only those of torch (.pt) can be used")
    if yolo.task not in LABEL_TYPES:
        raise ValueError(f"a model for {yolo.task!r} cannot annotate; those for {', '.join(LABEL_TYPES)} can")
    keypoints = None
    if yolo.task == "pose":
        keypoints = Keypoints(_names_of_keypoints(yolo, keypoint_names), hidden)
    elif keypoint_names is not None:
        raise ValueError(f"a model for {yolo.task!r} has no keypoints to name")
    if image_size is None:
        image_size = yolo.overrides.get("imgsz", 224 if yolo.task == "classify" else 640)
    return UltralyticsFunction(
        yolo,
        iou=iou,
        image_size=image_size,
        keypoints=keypoints,
        keypoint_threshold=keypoint_threshold,
        tolerance=tolerance,
        top_k=top_k,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
    )


def _names_of_keypoints(yolo: Any, names: Sequence[str] | None) -> Sequence[str]:
    count = int(yolo.model.model[-1].kpt_shape[0])
    if names is None:
        return COCO_KEYPOINTS if count == len(COCO_KEYPOINTS) else [str(number) for number in range(count)]
    if len(names) > count:
        raise ValueError(f"keypoint_names has {len(names)} names, but the model finds {count} keypoints")
    return names
