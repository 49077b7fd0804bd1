"""Pictures for tests that need no real photographs."""

import io

import numpy as np
import PIL.Image


def picture(width: int = 64, height: int = 48, seed: int = 0, image_format: str = "PNG") -> bytes:
    """The bytes of a small picture, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def png(pixels: np.ndarray | PIL.Image.Image) -> bytes:
    """The bytes of a PNG of these pixels."""
    buffer = io.BytesIO()
    (PIL.Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels).save(buffer, "PNG")
    return buffer.getvalue()
