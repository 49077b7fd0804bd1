"""Keypoint detection with torchvision's Keypoint R-CNN, or a model that is called like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionContext,
    skeleton,
)
from prefect_cvat.auto_annotation.functions._prepared_model import PreparedModel, Transforms, prepare_model
from prefect_cvat.auto_annotation.functions._shapes import Keypoints
from prefect_cvat.auto_annotation.functions._torchvision import Output, TorchvisionFunction

__all__ = ["TorchvisionKeypointDetectionFunction", "create"]


class TorchvisionKeypointDetectionFunction(TorchvisionFunction):
    """Finds skeletons, each with the model's score."""

    _outputs = ("labels", "scores", "keypoints")
    _optional_outputs = ("keypoints_scores",)

    def __init__(
        self,
        prepared: PreparedModel,
        *,
        keypoint_names: Sequence[str],
        keypoint_threshold: float,
        hidden: Literal["occluded", "outside"],
        **settings: Any,
    ) -> None:
        super().__init__(prepared, **settings)
        self.keypoints = Keypoints(keypoint_names, hidden)
        self.keypoint_threshold = keypoint_threshold

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            self.keypoints.names,
            self.keypoint_threshold,
            self.keypoints.hidden,
        )

    def _label(self, number: int, name: str) -> models.PatchedLabelRequest:
        return self.keypoints.label(number, name)

    def _annotations(
        self,
        context: DetectionFunctionContext,
        size: tuple[int, int],  # noqa: ARG002 - keypoints need no more than the scale
        scale: tuple[float, float],
        output: Output,
    ) -> list[DetectionAnnotation]:
        keypoints = output["keypoints"]
        if keypoints.shape[1] < len(self.keypoints.names):
            raise BadFunctionError(
                f"keypoint_names has {len(self.keypoints.names)} names, but the model finds"
                f" {keypoints.shape[1]} keypoints"
            )
        places = (keypoints[..., :2] * torch.tensor(scale)).tolist()
        visible = self._visible(output).tolist()
        return [
            skeleton(label_id, self.keypoints.elements(places[index], visible[index], score), score=score)
            for index, label_id, score in self._found(context, output)
        ]

    def _visible(self, output: Output) -> Tensor:
        visible = output["keypoints"][..., 2] != 0
        if "keypoints_scores" in output:
            visible &= output["keypoints_scores"] >= self.keypoint_threshold
        return visible


def create(
    model_name: str | None = None,
    weights_name: str = "DEFAULT",
    *,
    model: nn.Module | None = None,
    transforms: Transforms | None = None,
    label_map: Mapping[int, str] | None = None,
    keypoint_names: Sequence[str] | None = None,
    keypoint_threshold: float = 2.0,
    hidden: Literal["occluded", "outside"] = "occluded",
    score_threshold: float = 0.5,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    runtime: str = "auto",
    **model_options: Any,
) -> TorchvisionKeypointDetectionFunction:
    """Make a keypoint detection function of a model by name, or of a model object.

    Its labels are skeletons; the ids of their keypoints are the model's keypoint numbers, from 0.

    Example:
        Of a name, with weights that torchvision downloads on first use::

            create("keypointrcnn_resnet50_fpn")

        Of an object, and only its first keypoints::

            create(model=my_model, keypoint_names=["nose", "left_eye", "right_eye"])

    Args:
        model_name: The name of one of torchvision's keypoint detection models.
        weights_name: The name of its weights.
        model: A model that takes a list of float tensors `[3, H, W]` and returns, for each, a dict
            of `labels` `[N]`, `scores` `[N]`, `keypoints` `[N, K, 3]` (x and y in pixels, and 0 if
            the keypoint is hidden) and perhaps `keypoints_scores` `[N, K]`. It is moved to the device
            and put into evaluation mode.
        transforms: Makes the tensor of an RGB image. It may resize the image, but not crop or pad
            it. By default what the weights need, or values from 0 to 1 for a model object.
        label_map: The names of the classes by number; objects of other classes are dropped. By
            default those of the weights; for a model object class 1, `person`.
        keypoint_names: The names of the keypoints, in the model's order. It may have more keypoints
            than there are names; the others are dropped. By default those of the weights; for a model
            object the 17 of COCO.
        keypoint_threshold: Minimum of `keypoints_scores` of a visible keypoint. Torchvision's
            are logits, not probabilities; Detectron draws them from 2 on. `-inf`: as `cvat_sdk`,
            which knows only the third number of `keypoints`, in torchvision always 1.
        hidden: How invisible keypoints are marked: `occluded`, at their predicted position, or
            `outside` of the image.
        score_threshold: Minimum score of a skeleton when the run sets no threshold (`cvat_sdk`: 0).
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 1. It is halved whenever the memory does not suffice.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        runtime: What runs the model: `torch`; `openvino` (extra `openvino`), which needs less time on
            a processor; or `auto`, OpenVINO on a processor if it is installed. A model that cannot be
            converted runs in torch, and a warning says so.
        **model_options: For torchvision's function that makes the model.

    Raises:
        FunctionLoadError: OpenVINO is not installed.
        TypeError: Neither or both of `model_name` and `model`, or `model_options` with `model`.
        ValueError: There is no such model, weights, device or runtime, names are missing or doubled, or a
            number is out of its range.
    """
    if model is not None and label_map is None:
        label_map = {1: "person"}
    prepared = prepare_model(
        model_name,
        weights_name,
        model=model,
        transforms=transforms,
        label_map=label_map,
        model_options=model_options,
    )
    if keypoint_names is None:
        meta = prepared.meta or KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta
        if "keypoint_names" not in meta:
            raise ValueError(f"the weights of {model_name} name no keypoints; it needs keypoint_names")
        keypoint_names = meta["keypoint_names"]
    return TorchvisionKeypointDetectionFunction(
        prepared,
        keypoint_names=keypoint_names,
        keypoint_threshold=keypoint_threshold,
        hidden=hidden,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
        runtime=runtime,
    )
