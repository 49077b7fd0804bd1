"""Models of SAM 2, as transformers has them."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions, check_options

__all__ = ["load_sam2", "mask_at"]


def load_sam2(
    model_id: str, kind: str, device: torch.device, **from_pretrained: Unpack[PretrainedOptions]
) -> tuple[Any, Any]:
    """Load a model and its processor; the model is put on the device, ready for use.

    Args:
        model_id: A name on the Hugging Face Hub, or a folder.
        kind: `Sam2` for images, `Sam2Video` for what goes on in time. The same weights serve both.
        device: Where the model is to run.
        **from_pretrained: Options of `from_pretrained`.

    Raises:
        FunctionLoadError: There is no such option of `from_pretrained`, or transformers is not installed.
        OSError: There is no such model.
    """
    check_options(from_pretrained)
    transformers = import_extra("transformers")
    model = getattr(transformers, f"{kind}Model").from_pretrained(model_id, **from_pretrained)
    processor = getattr(transformers, f"{kind}Processor").from_pretrained(model_id, **from_pretrained)
    return model.to(device).eval(), processor


def mask_at(logits: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Enlarge a small mask to an image.

    Args:
        logits: `[h, w]`, above 0 where the object is.
        size: Width and height of the image.

    Returns:
        Booleans `[height, width]`.
    """
    enlarged = functional.interpolate(
        logits[None, None].float(), size[::-1], mode="bilinear", align_corners=False
    )
    mask: NDArray[np.bool_] = (enlarged[0, 0] > 0).cpu().numpy()
    return mask
