"""Images of any mode as RGB; those of 16 bits are scaled to 8."""

from __future__ import annotations

import numpy as np
import PIL.Image

__all__ = ["to_rgb"]


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image of any mode as RGB.

    Grey images of more than 8 bits are scaled by their greatest value, as CVAT does for the images
    that it shows to annotators. Transparency is dropped.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        greatest = values.max(initial=0.0)
        scaled = values * (255 / greatest) if greatest > 0 else values
        image = PIL.Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
