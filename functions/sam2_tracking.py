"""SAM 2 of Hugging Face's transformers: follows rectangles, polygons and masks.

Transformers is an extra: `pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import PIL.Image
import torch

from prefect_cvat.auto_annotation import (
    TrackableShape,
    TrackingFunctionContext,
    TrackingFunctionShapeContext,
    TrackingFunctionSpec,
)
from prefect_cvat.auto_annotation.functions._inference import choose_device
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions
from prefect_cvat.auto_annotation.functions._sam2 import load_sam2, mask_at
from prefect_cvat.auto_annotation.functions._shapes import mask_points
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.masks import decode_mask, polygon_to_mask

__all__ = ["Sam2TrackingFunction", "create"]

_OBJECT = 1
"""The number of the object in its session: each object has a session of its own."""


@dataclass(frozen=True)
class _Features:
    """The embedding of an image, which sessions read from their cache."""

    cached: dict[str, Any]
    size: tuple[int, int]


@dataclass
class _TrackingState:
    """A tracked object: its memory in the model, and the number of its images."""

    session: Any
    images: int = 1


class Sam2TrackingFunction:
    """Follows shapes with SAM 2; see `create`."""

    def __init__(self, model: Any, processor: Any, device: torch.device, *, tolerance: float) -> None:
        self.tolerance = tolerance
        self._model = model
        self._processor = processor
        self._device = device

    @property
    def spec(self) -> TrackingFunctionSpec:
        """The types of shapes that can be followed."""
        return TrackingFunctionSpec(supported_shape_types={"rectangle", "polygon", "mask"})

    @property
    def device(self) -> str:
        """The device of the model, such as `cuda:0`."""
        return str(self._device)

    @torch.inference_mode()
    def preprocess_image(
        self,
        context: TrackingFunctionContext,  # noqa: ARG002 (the interface has it)
        image: PIL.Image.Image,
    ) -> _Features:
        """Run the encoder, which is most of the work, once for all shapes."""
        inputs = self._processor(images=to_rgb(image), return_tensors="pt").to(self._device)
        found = self._model.get_image_features(inputs["pixel_values"], return_dict=True)
        cached = {"vision_feats": found.fpn_hidden_states, "vision_pos_embeds": found.fpn_position_encoding}
        return _Features(cached, image.size)

    @torch.inference_mode()
    def init_tracking_state(
        self, context: TrackingFunctionShapeContext, pp_image: _Features, shape: TrackableShape
    ) -> _TrackingState:
        """Show the model the object."""
        width, height = pp_image.size
        session = self._processor.init_video_session(inference_device=self._device, dtype=self._model.dtype)
        prompt: dict[str, Any] = {"original_size": (height, width)}
        match context.original_shape_type:
            case "rectangle":
                prompt["input_boxes"] = [[list(map(float, shape.points))]]
            case "polygon":
                prompt["input_masks"] = polygon_to_mask(shape.points, image_width=width, image_height=height)
            case _:
                prompt["input_masks"] = decode_mask(shape.points, image_width=width, image_height=height)
        self._processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=_OBJECT, **prompt)
        self._look(session, 0, pp_image)
        return _TrackingState(session)

    @torch.inference_mode()
    def track(
        self, context: TrackingFunctionShapeContext, pp_image: _Features, state: _TrackingState
    ) -> TrackableShape | None:
        """Find the object again; None if the model does not see it."""
        outputs = self._look(state.session, state.images, pp_image)
        state.images += 1
        if float(outputs.object_score_logits.flatten()[0]) <= 0:
            return None
        mask = mask_at(outputs.pred_masks[0, 0], pp_image.size)
        points = mask_points(context.original_shape_type, mask, tolerance=self.tolerance)
        return None if points is None else TrackableShape(type=context.original_shape_type, points=points)

    def _look(self, session: Any, number: int, image: _Features) -> Any:
        session.cache.cache_vision_features(number, dict(image.cached))
        # Its features are known, so that the image itself is not asked for.
        outputs = self._model(session, frame=torch.empty(0, 0, 0), frame_idx=number)
        session.processed_frames.clear()
        self._forget(session, number)
        return outputs

    def _forget(self, session: Any, number: int) -> None:
        """Let go of what the model would keep, and not use again: megabytes for each image."""
        config = self._model.config
        index = session.obj_id_to_idx(_OBJECT)
        kept = session.output_dict_per_obj[index]
        for outputs in kept.values():
            for output in outputs.values():
                output.pop("high_res_masks", None)
        later = kept["non_cond_frame_outputs"]
        later.pop(number - max(config.num_maskmem, config.max_object_pointers_in_encoder), None)
        session.frames_tracked_per_obj[index].clear()


def create(
    model_id: str = "facebook/sam2.1-hiera-tiny",
    *,
    tolerance: float = 1.0,
    device: str = "auto",
    **from_pretrained: Unpack[PretrainedOptions],
) -> Sam2TrackingFunction:
    """Make a tracking function of a SAM 2, for rectangles, polygons and masks.

    The model follows masks. A rectangle comes back as the box around the mask, a polygon as the outline
    of its largest part.

    Example:
        `create("facebook/sam2.1-hiera-large", device="cuda")`

    Args:
        model_id: A name on the Hugging Face Hub, downloaded on first use, or a folder.
        tolerance: How far a polygon may be from the outline of the mask, in pixels.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        FunctionLoadError: Transformers is not installed.
        OSError: There is no such model.
        ValueError: There is no such device, or `tolerance` is negative.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
    chosen = choose_device(device)
    model, processor = load_sam2(model_id, "Sam2Video", chosen, **from_pretrained)
    return Sam2TrackingFunction(model, processor, chosen, tolerance=tolerance)
