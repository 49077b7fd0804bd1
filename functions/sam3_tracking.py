"""SAM 3 of Hugging Face's transformers: follows rectangles, polygons and masks that somebody has drawn.

`sam3_word_tracking` finds the objects itself. Transformers is an extra:
`pip install "prefect-cvat[transformers]"`.
"""

from __future__ import annotations

from typing import Unpack

from prefect_cvat.auto_annotation.functions._device_memory import suggesting_the_cpu
from prefect_cvat.auto_annotation.functions._inference import choose_device
from prefect_cvat.auto_annotation.functions._pretrained import PretrainedOptions, load_pretrained
from prefect_cvat.auto_annotation.functions._sam3 import MODEL
from prefect_cvat.auto_annotation.functions.sam2_tracking import Sam2TrackingFunction

__all__ = ["Sam3TrackingFunction", "create"]


class Sam3TrackingFunction(Sam2TrackingFunction):
    """Follows shapes with SAM 3, whose tracker is used as that of SAM 2; see `create`."""


def create(
    model: str = MODEL,
    *,
    tolerance: float = 1.0,
    device: str = "auto",
    **from_pretrained: Unpack[PretrainedOptions],
) -> Sam3TrackingFunction:
    """Make a tracking function of the tracker of SAM 3, for rectangles, polygons and masks.

    The model follows masks. A rectangle comes back as the box around the mask, a polygon as the outline
    of its largest part.

    Example:
        `create(device="cuda")`

    Args:
        model: A name on the Hugging Face Hub, downloaded on first use, or a folder. `facebook/sam3` is given
            to those who accept its licence.
        tolerance: How far a polygon may be from the outline of the mask, in pixels.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        **from_pretrained: For `from_pretrained` of model and processor, such as `revision="..."`.

    Raises:
        BadFunctionError: The model does not fit into the memory of the device.
        FunctionLoadError: Transformers is not installed, or the model cannot be loaded.
        ValueError: There is no such device, or `tolerance` is negative.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
    chosen = choose_device(device)
    loaded = load_pretrained("Sam3TrackerVideoModel", model, from_pretrained, family="sam3")
    processor = load_pretrained("Sam3TrackerVideoProcessor", model, from_pretrained)
    with suggesting_the_cpu(chosen, "the tracker of SAM 3"):
        loaded = loaded.to(chosen).eval()
    return Sam3TrackingFunction(loaded, processor, chosen, tolerance=tolerance)
