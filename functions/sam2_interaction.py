"""SAM 2 of Hugging Face's transformers: masks of what boxes or points point at.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import PIL.Image
import torch
from torch import Tensor

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    InteractionFunctionContext,
    InteractionFunctionSpec,
    InteractionPrompts,
    InteractionResultAttributes,
    InteractionResultShape,
)
from prefect_cvat.auto_annotation.functions._inference import choose_device
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions
from prefect_cvat.auto_annotation.functions._sam2 import load_sam2, mask_at
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.masks import encode_mask

__all__ = ["Sam2InteractionFunction", "create"]


@dataclass(frozen=True)
class _Embedded:
    """The embedding of an image."""

    embeddings: list[Tensor]
    size: tuple[int, int]


class Sam2InteractionFunction:
    """Finds masks with SAM 2; see `create`."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self._model = model
        self._processor = processor
        self._device = device

    @property
    def spec(self) -> InteractionFunctionSpec:
        """A box, points, or both."""
        return InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    @property
    def device(self) -> str:
        """The device of the model, such as `cuda:0`."""
        return str(self._device)

    @torch.inference_mode()
    def preprocess_image(
        self,
        context: InteractionFunctionContext,  # noqa: ARG002 (the interface has it)
        image: PIL.Image.Image,
    ) -> _Embedded:
        """Run the encoder, which is most of the work."""
        inputs = self._processor(images=to_rgb(image), return_tensors="pt").to(self._device)
        return _Embedded(self._model.get_image_embeddings(inputs["pixel_values"]), image.size)

    @torch.inference_mode()
    def detect(
        self,
        context: InteractionFunctionContext,  # noqa: ARG002 (the interface has it)
        pp_image: _Embedded,
        prompts: InteractionPrompts,
    ) -> list[InteractionResultShape]:
        """Find the object; its confidence is the overlap with the truth that the model expects."""
        points = [list(map(float, point)) for point in (*prompts.pos_points, *prompts.neg_points)]
        labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
        given: dict[str, Any] = {}
        if points:
            given |= {"input_points": [[points]], "input_labels": [[labels]]}
        if prompts.bounding_box is not None:
            given["input_boxes"] = [[[float(number) for corner in prompts.bounding_box for number in corner]]]
        if not given:
            return []
        width, height = pp_image.size
        inputs = self._processor(original_sizes=[[height, width]], return_tensors="pt", **given)
        inputs = {name: inputs[name].to(self._device) for name in given}
        # A single point is ambiguous: part, object, or group; the best of three answers is taken.
        is_ambiguous = prompts.bounding_box is None and len(points) == 1
        outputs = self._model(
            image_embeddings=list(pp_image.embeddings), multimask_output=is_ambiguous, **inputs
        )
        scores = outputs.iou_scores[0, 0].float()
        best = int(scores.argmax())
        mask = mask_at(outputs.pred_masks[0, 0, best], pp_image.size)
        if not mask.any():
            return []
        confidence = models.AttributeValRequest(
            spec_id=InteractionResultAttributes.CONFIDENCE,
            value=f"{float(scores[best].clamp(0, 1)):.4f}",
        )
        return [InteractionResultShape(type="mask", points=encode_mask(mask), attributes=[confidence])]


def create(
    model_id: str = "facebook/sam2.1-hiera-tiny",
    *,
    device: str = "auto",
    **from_pretrained: Unpack[PretrainedOptions],
) -> Sam2InteractionFunction:
    """Make an interaction function of a SAM 2, which takes a box, points, or both, and returns a mask.

    Example:
        `create("facebook/sam2.1-hiera-large", device="cuda")`

    Args:
        model_id: A name on the Hugging Face Hub, downloaded on first use, or a folder.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        FunctionLoadError: Transformers is not installed.
        OSError: There is no such model.
        ValueError: There is no such device.
    """
    chosen = choose_device(device)
    return Sam2InteractionFunction(*load_sam2(model_id, "Sam2", chosen, **from_pretrained), chosen)
