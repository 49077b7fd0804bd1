"""Classification of whole images with any of torchvision's classifiers, or a model called like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionContext,
    tag,
)
from prefect_cvat.auto_annotation.functions._prepared_model import PreparedModel, Transforms, prepare_model
from prefect_cvat.auto_annotation.functions._torchvision import Output, TorchvisionFunction

__all__ = ["TorchvisionClassificationFunction", "create"]


class TorchvisionClassificationFunction(TorchvisionFunction):
    """Finds tags: the classes with the greatest probabilities."""

    _label_type = "tag"
    _outputs = ("labels", "scores")

    def __init__(self, prepared: PreparedModel, *, top_k: int, **settings: Any) -> None:
        if top_k < 1:
            raise ValueError(f"top_k must be 1 or more, not {top_k}")
        super().__init__(prepared, **settings)
        self.top_k = top_k

    def _settings(self) -> Sequence[object]:
        return (*super()._settings(), self.top_k)

    def _parts(self, model: nn.Module) -> Sequence[str]:  # noqa: ARG002 - a detector has parts
        return [""]

    def _run(self, model: nn.Module, tensors: list[Tensor]) -> Sequence[Output]:
        if len({tensor.shape for tensor in tensors}) == 1:
            batches = [torch.stack(tensors)]
        else:
            batches = [tensor[None] for tensor in tensors]
        outputs: list[Output] = []
        for batch in batches:
            logits = model(batch)
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                raise BadFunctionError(
                    "a classification model returns a tensor [images, classes], not"
                    f" {tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__}"
                )
            best = logits.float().softmax(1).topk(min(self.top_k, logits.shape[1]))
            outputs.extend(
                {"labels": numbers, "scores": scores}
                for numbers, scores in zip(best.indices, best.values, strict=True)
            )
        return outputs

    def _annotations(
        self,
        context: DetectionFunctionContext,
        size: tuple[int, int],  # noqa: ARG002 - tags have no place in the image
        scale: tuple[float, float],  # noqa: ARG002
        output: Output,
    ) -> list[DetectionAnnotation]:
        # Several classes may have one name, and its tag is wanted once.
        label_ids = dict.fromkeys(label_id for _, label_id, _ in self._found(context, output))
        return [tag(label_id) for label_id in label_ids]


def create(
    model_name: str | None = None,
    weights_name: str = "DEFAULT",
    *,
    model: nn.Module | None = None,
    transforms: Transforms | None = None,
    label_map: Mapping[int, str] | None = None,
    score_threshold: float = 0.0,
    top_k: int = 1,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    runtime: str = "auto",
    **model_options: Any,
) -> TorchvisionClassificationFunction:
    """Make a classification function of a model by name, or of a model object.

    CVAT's tags have no score, so the probabilities serve only to choose.

    Example:
        Of a name, with weights that torchvision downloads on first use::

            create("resnet50", "IMAGENET1K_V2", top_k=3, score_threshold=0.2)

        Of an object::

            create(model=my_model, label_map={0: "cat", 1: "dog", 2: "bird"})

    Args:
        model_name: The name of one of torchvision's classifiers.
        weights_name: The name of its weights.
        model: A model that takes a float tensor `[N, 3, H, W]` and returns logits `[N, classes]`. It is
            moved to the device and put into evaluation mode.
        transforms: Makes the tensor of an RGB image. By default what the weights need; for a model
            object what torchvision's first ResNet-50 needs (the shorter side 256 pixels, of which the
            224x224 in the middle, normalized as ImageNet).
        label_map: The names of the classes by number. All classes of the model compete; one that is
            not in the map gives no tag.
        score_threshold: Minimum probability when the run sets no threshold. By default the best
            class is the tag, however sure the model is.
        top_k: The greatest number of tags of an image.
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
        default_transforms=ResNet50_Weights.IMAGENET1K_V1.transforms(),
    )
    return TorchvisionClassificationFunction(
        prepared,
        top_k=top_k,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
        runtime=runtime,
    )
