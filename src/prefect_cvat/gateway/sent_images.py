"""The image of a call: in base64, known by its digest, and decoded once, where that is needed."""

from __future__ import annotations

import binascii
import hashlib
import io
import threading

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import Frame, UnnumberedFrame
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.media.untrusted_images import decode_pixels, decoding_bytes, open_image

__all__ = ["SentImage"]


class SentImage:
    """An image that CVAT has sent: the file as it was uploaded, or a frame of a video as PNG.

    Args:
        text: The file in base64.

    Attributes:
        digest: Identifies the file.

    Raises:
        Refusal: It is not an image in base64, or decoding it would take too much memory.
    """

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not text:
            raise Refusal(400, "the call has no image")
        try:
            self._file = binascii.a2b_base64(text, strict_mode=True)
        except ValueError:  # also of letters that are not ASCII
            raise Refusal(400, "the image of the call is not in base64") from None
        self.digest = hashlib.sha256(self._file).hexdigest()
        self._lock = threading.Lock()
        self._is_decoded = False
        try:
            self._image = open_image(io.BytesIO(self._file), "the image")
        except MediaError as error:
            reason = str(error).partition(": cannot identify")[
                0
            ]  # Pillow goes on with the address of an object
            raise Refusal(400, reason) from None

    @property
    def memory(self) -> int:
        """The memory in bytes that the file and the decoded image take."""
        return len(self._file) + decoding_bytes(self._image)

    def decode(self) -> PIL.Image.Image:
        """The image in the mode in which it is stored, as flows give it to functions.

        Raises:
            Refusal: It is broken.
        """
        with self._lock:
            if not self._is_decoded:
                try:
                    decode_pixels(self._image, "the image")
                except MediaError as error:
                    raise Refusal(400, str(error)) from None
                self._is_decoded = True
            return self._image

    @property
    def opened(self) -> PIL.Image.Image:
        """The image, which may not be decoded yet."""
        return self._image

    @property
    def frame(self) -> Frame:
        """The frame, for the function."""
        return UnnumberedFrame(0, f"image {self.digest[:8]}", *self._image.size)
