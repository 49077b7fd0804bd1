"""Object detection with any of torchvision's detectors, or a model that is called like them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from prefect_cvat.auto_annotation import DetectionAnnotation, DetectionFunctionContext, rectangle
from prefect_cvat.auto_annotation.functions._prepared_model import Transforms, prepare_model
from prefect_cvat.auto_annotation.functions._torchvision import Output, TorchvisionFunction

__all__ = ["TorchvisionDetectionFunction", "create"]


class TorchvisionDetectionFunction(TorchvisionFunction):
    """Finds rectangles, each with the model's score."""

    _label_type = "rectangle"

    def _annotations(
        self,
        context: DetectionFunctionContext,
        size: tuple[int, int],  # noqa: ARG002 - boxes need no more than the scale
        scale: tuple[float, float],
        output: Output,
    ) -> list[DetectionAnnotation]:
        boxes = (output["boxes"] * torch.tensor(scale * 2)).tolist()
        return [
            rectangle(label_id, boxes[index], score=score)
            for index, label_id, score in self._found(context, output)
        ]


def create(
    model_name: str | None = None,
    weights_name: str = "DEFAULT",
    *,
    model: nn.Module | None = None,
    transforms: Transforms | None = None,
    label_map: Mapping[int, str] | None = None,
    score_threshold: float = 0.5,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    runtime: str = "auto",
    **model_options: Any,
) -> TorchvisionDetectionFunction:
    """Make a detection function of a model by name, or of a model object.

    Example:
        Of a name, with weights that torchvision downloads on first use::

            create("fasterrcnn_resnet50_fpn_v2", "COCO_V1", box_score_thresh=0.1)

        Of an object::

            create(model=my_model, label_map={1: "person", 3: "car"})

    Args:
        model_name: The name of one of torchvision's detectors.
        weights_name: The name of its weights.
        model: A model that takes a list of float tensors `[3, H, W]` and returns, for each, a dict
            of `boxes` `[N, 4]` (`x1, y1, x2, y2` in pixels), `labels` `[N]` and `scores` `[N]`. It is
            moved to the device and put into evaluation mode.
        transforms: Makes the tensor of an RGB image. It may resize the image, but not crop or pad
            it. By default what the weights need, or values from 0 to 1 for a model object.
        label_map: The names of the classes by number; objects of other classes are dropped. A model
            by name has names for all classes. Its numbers that stand for no object
            (`__background__`, `N/A`) do not become labels: `cvat_sdk` makes a label of
            `__background__`, which no task has, so that every run complains of it.
        score_threshold: Minimum score when the run sets no threshold. `cvat_sdk` takes 0 here,
            which returns all that the model returns, mostly false alarms. Torchvision's models
            themselves return nothing below 0.05, unless `box_score_thresh` or `score_thresh` say so.
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
        ValueError: There is no such model, weights, device or runtime, `label_map` is missing, or a number is
            out of its range.
    """
    prepared = prepare_model(
        model_name,
        weights_name,
        model=model,
        transforms=transforms,
        label_map=label_map,
        model_options=model_options,
    )
    return TorchvisionDetectionFunction(
        prepared,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
        runtime=runtime,
    )
