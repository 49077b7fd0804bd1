"""Skeletons by ViTPose of Hugging Face's transformers, in the boxes that another function finds.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Unpack

import PIL.Image
import torch

from prefect_cvat.auto_annotation import (
    DetectionAnnotation,
    DetectionFunction,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    keypoint,
    keypoint_spec,
    skeleton,
    skeleton_label_spec,
)
from prefect_cvat.auto_annotation.functions._model_function import Item, ModelFunction, to_float32
from prefect_cvat.auto_annotation.functions._nested_function import detect_on, made_for
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.functions._skeleton_points import (
    points_of_keypoints,
    skeletons_by_label,
    wanted_skeletons,
)
from prefect_cvat.auto_annotation.functions._transformers import Kind, described, load
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel
from prefect_cvat.geometry.bounding_box import WITHOUT_AREA, bounding_box
from prefect_cvat.inference.output_checks import OutputChecker

__all__ = ["TransformersPoseFunction", "create"]

_CROPS_ON_CPU = 8
"""The number of boxes that the model gets at once on a CPU: they are small images."""


@dataclass(frozen=True)
class _Object:
    """A box in which to look for keypoints."""

    image: int
    label_id: int
    score: float | None
    box: tuple[float, float, float, float]
    """Left, top, width, height, in pixels."""


class TransformersPoseFunction(ModelFunction):
    """Finds skeletons in the boxes of another function; see `create`.

    Args:
        model: A `VitPoseForPoseEstimation`. It is taken over.
        processor: Its image processor.
        detector: The function that finds the boxes.
        skeletons: The names of points by keypoint number, by the name of the skeleton. The model does not
            find those with other numbers than its keypoints have.
        skeleton_of: The places of the skeletons by label id of the detector.
        keypoint_threshold: Minimum score of a visible keypoint.
        hidden: How other keypoints are marked.
        dataset: The number of the data set whose keypoints a model of several finds.
        **settings: Those of `ModelFunction`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        detector: DetectionFunction,
        skeletons: Mapping[str, Mapping[int, str]],
        skeleton_of: Mapping[int, int],
        keypoint_threshold: float,
        hidden: Literal["occluded", "outside"],
        dataset: int,
        **settings: Any,
    ) -> None:
        if not 0 <= keypoint_threshold <= 1:
            raise ValueError(f"keypoint_threshold must be between 0 and 1, not {keypoint_threshold}")
        if hidden not in ("occluded", "outside"):
            raise ValueError(f"hidden must be 'occluded' or 'outside', not {hidden!r}")
        threshold = getattr(detector, "score_threshold", None)
        super().__init__(model, score_threshold=threshold or 0.0, batch_size_on_cpu=_CROPS_ON_CPU, **settings)
        self.detector = detector
        self.skeletons = skeletons
        self.keypoint_threshold = keypoint_threshold
        self.hidden = hidden
        self.dataset = dataset
        self._skeleton_of = skeleton_of
        self._processor = processor

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The skeletons; the ids of their points are the model's keypoint numbers."""
        return DetectionFunctionSpec(
            labels=[
                skeleton_label_spec(
                    name, label_id, [keypoint_spec(point, number) for number, point in points]
                )
                for label_id, (name, points) in enumerate(
                    (name, points.items()) for name, points in self.skeletons.items()
                )
            ]
        )

    @property
    def nested_functions(self) -> Sequence[DetectionFunction]:
        """The function that finds the boxes."""
        return [self.detector]

    def close(self) -> None:
        """Let go of the model, and close the function that finds the boxes, if it can be closed."""
        super().close()
        if (close := getattr(self.detector, "close", None)) is not None:
            close()

    def _settings(self) -> Sequence[object]:
        return (
            self.detector.version,
            [(name, sorted(points.items())) for name, points in self.skeletons.items()],
            sorted(self._skeleton_of.items()),
            self.keypoint_threshold,
            self.hidden,
            self.dataset,
            *described(self._loaded_model(), self._processor),
        )

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> list[list[DetectionAnnotation]]:
        """Find skeletons on images of any sizes and modes.

        Raises:
            BadFunctionError: The function that finds the boxes returned something that it must not, or not
                even one box fits into the memory of the device.
            RuntimeError: The function is closed.
        """
        pixels = [to_rgb(image) for image in images]
        objects = [
            each
            for number, (context, outputs) in enumerate(
                zip(contexts, detect_on(self.detector, contexts, images), strict=True)
            )
            for each in self._objects(number, context, outputs)
        ]
        poses = self._in_batches(
            lambda some: self._poses(some, [pixels[each.image] for each in some]), objects, "a box"
        )
        found: list[list[DetectionAnnotation]] = [[] for _ in images]
        for each, pose in zip(objects, poses, strict=True):
            found[each.image].append(pose)
        return found

    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        return self.detect_batch(*zip(*items, strict=True))

    def _objects(self, image: int, context: DetectionFunctionContext, outputs: object) -> list[_Object]:
        checker = OutputChecker(self.detector.spec.labels, conv_mask_to_poly=context.conv_mask_to_poly)
        objects = []
        for shape in checker.check(0, outputs).shapes:
            label_id = self._skeleton_of.get(shape.label_id)
            if label_id is None or shape.type.value in WITHOUT_AREA:
                continue
            left, top, right, bottom = bounding_box(shape.model_dump(mode="json"))
            if right > left and bottom > top:
                box = (left, top, right - left, bottom - top)
                objects.append(_Object(image, label_id, shape.score, box))
        return objects

    @torch.inference_mode()
    def _poses(
        self, objects: Sequence[_Object], images: Sequence[PIL.Image.Image]
    ) -> list[DetectionAnnotation]:
        groups = [
            [*group]
            for _, group in itertools.groupby(zip(objects, images, strict=True), lambda pair: pair[0].image)
        ]
        boxes = [[list(each.box) for each, _ in group] for group in groups]
        inputs = self._processor([group[0][1] for group in groups], boxes=boxes, return_tensors="pt").to(
            self._device
        )
        model: Any = self._loaded_model()
        if getattr(model.config.backbone_config, "num_experts", 1) > 1:
            inputs["dataset_index"] = torch.full((len(objects),), self.dataset, device=self._device)
        with self._autocast():
            outputs = model(**inputs)
        poses = self._processor.post_process_pose_estimation(to_float32(outputs), boxes=boxes)
        return [
            self._skeleton(each, pose) for each, pose in zip(objects, itertools.chain(*poses), strict=True)
        ]

    def _skeleton(self, each: _Object, pose: Mapping[str, Any]) -> DetectionAnnotation:
        places, scores = pose["keypoints"].tolist(), pose["scores"].clamp(0, 1).tolist()
        left, top, width, height = each.box
        elements = [
            keypoint(
                number,
                places[number],
                score=scores[number],
                **{self.hidden: scores[number] < self.keypoint_threshold},
            )
            if number < len(places)
            else keypoint(number, [left + width / 2, top + height / 2], outside=True)
            for number in [*self.skeletons.values()][each.label_id]
        ]
        return skeleton(each.label_id, elements, score=each.score)


def create(
    *,
    task_labels: Sequence[TaskLabel] | None = None,
    model: Any = "usyd-community/vitpose-base-simple",
    processor: Any = None,
    detector: DetectionFunction | str = "nanodet_detection",
    detector_options: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    keypoint_names: Sequence[str] | None = None,
    keypoint_threshold: float = 0.3,
    hidden: Literal["occluded", "outside"] = "occluded",
    dataset: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    **from_pretrained: Unpack[PretrainedOptions],
) -> TransformersPoseFunction:
    """Make a detection function that finds skeletons with ViTPose, in the boxes of another function.

    The skeletons are those of the task: their points are matched with the model's keypoints by name
    (`left_eye` is `L_Eye`), or by their order if no name matches and their numbers are equal. A skeleton is
    looked for in the boxes of the detector's label of its name; a task's only skeleton otherwise in those of
    `person`. Its score is that of the box; each point has its own.

    Example:
        `create(detector="transformers_detection", detector_options={"model": "PekingU/rtdetr_v2_r50vd"})`

    Args:
        task_labels: The labels of the task. None: one skeleton for each label in `labels`, or `person`, with
            the model's own names of keypoints.
        model: A name on the Hugging Face Hub, a folder, or a `VitPoseForPoseEstimation`, which is moved to
            the device and put into evaluation mode.
        processor: The image processor, or where to load it from; by default from where the model comes.
        detector: The function that finds the boxes, or its name.
        detector_options: For making that function, if `detector` is a name. If it is made for a task, as
            `open_vocabulary_detection`, it gets the names of the skeletons as labels.
        labels: The skeleton by label of the detector, such as `{"pedestrian": "person"}`.
        keypoint_names: The names of the keypoints in the model's order; by default its own.
        keypoint_threshold: Minimum score of a visible keypoint, 0 to 1.
        hidden: How other keypoints are marked: `occluded`, at their predicted position, or `outside` of the
            image.
        dataset: The number of the data set whose keypoints a ViTPose++ finds; 0 is COCO.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`. For the detector,
            too, if its options name none.
        batch_size: The greatest number of boxes that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 8. It is halved whenever the memory does not suffice.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        BadFunctionError: The task has no skeleton, its points are not known to the model, or it is not known
            in which boxes it is.
        FunctionLoadError: Transformers is not installed, or the detector cannot be made or the model not be
            loaded.
        TypeError: `model` is not a ViTPose, a model object came without its processor, or
            `detector_options` with a detector that is not a name.
        ValueError: There is no such device, or a number is out of its range.
    """
    loaded, processor, _ = load(model, processor, from_pretrained, (Kind.POSE,))
    if keypoint_names is None:
        keypoint_names = [loaded.config.id2label[number] for number in range(loaded.config.num_labels)]
    elif len(keypoint_names) != loaded.config.num_labels:
        raise ValueError(
            f"keypoint_names has {len(keypoint_names)} names, but the model finds"
            f" {loaded.config.num_labels} keypoints"
        )
    skeletons = {
        name: points_of_keypoints(name, points, keypoint_names)
        for name, points in wanted_skeletons(task_labels, labels, keypoint_names).items()
    }
    finder = made_for(detector, detector_options or {}, device, [*skeletons])
    return TransformersPoseFunction(
        loaded,
        processor,
        detector=finder,
        skeletons=skeletons,
        skeleton_of=skeletons_by_label(finder, [*skeletons], labels),
        keypoint_threshold=keypoint_threshold,
        hidden=hidden,
        dataset=dataset,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
    )
