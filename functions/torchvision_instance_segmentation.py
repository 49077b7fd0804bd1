"""Instance segmentation with torchvision's Mask R-CNN, or a model that is called like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import resize_boxes

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionContext,
)
from prefect_cvat.auto_annotation.functions._prepared_model import PreparedModel, Transforms, prepare_model
from prefect_cvat.auto_annotation.functions._shapes import mask_shapes, whole_pixels
from prefect_cvat.auto_annotation.functions._torchvision import Output, TorchvisionFunction

__all__ = ["TorchvisionInstanceSegmentationFunction", "create"]


class TorchvisionInstanceSegmentationFunction(TorchvisionFunction):
    """Finds masks, or polygons where the run asks for them, each with the model's score."""

    _label_type = "mask"
    _optional_outputs = ("masks_in_boxes",)

    def __init__(self, prepared: PreparedModel, *, tolerance: float, **settings: Any) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        super().__init__(prepared, **settings)
        self.tolerance = tolerance

    def _settings(self) -> Sequence[object]:
        return (*super()._settings(), self.tolerance)

    def _run(self, model: nn.Module, tensors: list[Tensor]) -> Sequence[Output]:
        is_rcnn = type(model).forward is GeneralizedRCNN.forward
        outputs = _run_without_pasting(model, tensors) if is_rcnn else super()._run(model, tensors)
        for output in outputs:
            if not {"masks", "masks_in_boxes"} & set(output):
                raise BadFunctionError(f"the model returns no masks; it returns {', '.join(output)}")
        return outputs

    def _annotations(
        self,
        context: DetectionFunctionContext,
        size: tuple[int, int],
        scale: tuple[float, float],
        output: Output,
    ) -> list[DetectionAnnotation]:
        boxes = output["boxes"] * torch.tensor(scale * 2)
        annotations: list[DetectionAnnotation] = []
        for index, label_id, score in self._found(context, output):
            probabilities, offset = _mask(output, index, boxes[index], size)
            annotations += mask_shapes(
                context,
                label_id,
                probabilities.numpy(),
                score=score,
                offset=offset,
                tolerance=self.tolerance,
            )
        return annotations


def create(
    model_name: str | None = None,
    weights_name: str = "DEFAULT",
    *,
    model: nn.Module | None = None,
    transforms: Transforms | None = None,
    label_map: Mapping[int, str] | None = None,
    score_threshold: float = 0.5,
    tolerance: float = 1.0,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    runtime: str = "auto",
    **model_options: Any,
) -> TorchvisionInstanceSegmentationFunction:
    """Make an instance segmentation function of a model by name, or of a model object.

    A mask lies within its box. An object without a pixel of probability 0.5 or more is left out.
    Where the run asks for polygons (`conv_mask_to_poly`), an object in several parts becomes several
    polygons, all with its score, and holes are filled.

    Example:
        Of a name, with weights that torchvision downloads on first use::

            create("maskrcnn_resnet50_fpn_v2")

        Of an object::

            create(model=my_model, label_map={1: "person", 2: "car"})

    Args:
        model_name: The name of one of torchvision's instance segmentation models.
        weights_name: The name of its weights.
        model: A model that takes a list of float tensors `[3, H, W]` and returns, for each, a dict
            of `boxes` `[N, 4]` (`x1, y1, x2, y2` in pixels), `labels` `[N]`, `scores` `[N]` and
            `masks` `[N, 1, H, W]`, probabilities. It is moved to the device and put into evaluation
            mode. Of torchvision's own classes the small masks are used and not those of the image's
            size, of which a hundred on a 4K image take 3 GB.
        transforms: Makes the tensor of an RGB image. It may resize the image, but not crop or pad
            it. By default what the weights need, or values from 0 to 1 for a model object.
        label_map: The names of the classes by number; objects of other classes are dropped. A model
            by name has names for all classes that stand for an object.
        score_threshold: Minimum score when the run sets no threshold (`cvat_sdk`: 0).
        tolerance: How far polygons may be from the outline of the mask, in pixels.
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
    return TorchvisionInstanceSegmentationFunction(
        prepared,
        tolerance=tolerance,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
        runtime=runtime,
    )


def _run_without_pasting(model: GeneralizedRCNN, tensors: list[Tensor]) -> Sequence[Output]:
    """Do what `GeneralizedRCNN.forward` does, but leave the masks as the head makes them.

    They are returned as `masks_in_boxes`, `[N, 1, M, M]`, if the model has such a head.
    """
    batch, _ = model.transform(tensors)
    features = model.backbone(batch.tensors)
    if isinstance(features, Tensor):
        features = {"0": features}
    proposals, _ = model.rpn(batch, features)
    outputs: Sequence[Output]
    outputs, _ = model.roi_heads(features, proposals, batch.image_sizes)
    for output, resized, tensor in zip(outputs, batch.image_sizes, tensors, strict=True):
        output["boxes"] = resize_boxes(output["boxes"], resized, tuple(tensor.shape[-2:]))
        if "masks" in output:
            output["masks_in_boxes"] = output.pop("masks")
    return outputs


def _mask(output: Output, index: int, box: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Return the probabilities of an object's mask in its box, and where they are in the image, `(x, y)`."""
    if "masks_in_boxes" in output:
        return _pasted(output["masks_in_boxes"][index, 0].float(), box, size)
    probabilities = output["masks"][index, 0].float().cpu()
    width, height = size
    if probabilities.shape != (height, width):
        probabilities = _resized(probabilities, width, height)
    x1, y1, x2, y2 = whole_pixels(box, size)
    return probabilities[y1:y2, x1:x2], (x1, y1)


def _pasted(small: Tensor, box: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Enlarge a mask `[M, M]` to its box, by torchvision's rule, but make no image of it.

    The rule is that of `torchvision.models.detection.roi_heads.paste_masks_in_image`: around the
    mask comes a margin of one background pixel, by which the box is widened too.
    """
    widened = functional.pad(small, (1, 1, 1, 1))
    factor = widened.shape[-1] / small.shape[-1]
    centre = (box[2:] + box[:2]) * 0.5
    half = (box[2:] - box[:2]) * 0.5 * factor
    left, top = (centre - half).to(torch.int64).tolist()
    right, bottom = (centre + half).to(torch.int64).tolist()
    enlarged = _resized(widened, max(right - left + 1, 1), max(bottom - top + 1, 1))
    x1, y1, x2, y2 = whole_pixels(box, size)
    x1, y1 = max(x1, left), max(y1, top)
    return enlarged[y1 - top : max(y2 - top, 0), x1 - left : max(x2 - left, 0)], (x1, y1)


def _resized(probabilities: Tensor, width: int, height: int) -> Tensor:
    return functional.interpolate(
        probabilities[None, None], size=(height, width), mode="bilinear", align_corners=False
    )[0, 0]
