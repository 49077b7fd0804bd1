"""The file names of frames in a dataset.

Frame names in CVAT are untrusted input: they may lead out of the folder, or several frames may have the same.
They are kept unchanged if possible.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import PIL.Image

from prefect_cvat.frames import Frame

__all__ = ["FileNames"]

_MAX_BYTES = 200
"""Maximum bytes of one part of a path. File systems allow 255, and a suffix may be added."""

_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
"""Characters that some file systems do not allow."""


class FileNames:
    """The file names of frames: relative, within the folder, and unique even without suffixes.

    Images keep the names that they have in the task, with folders, if possible. Frames of a video, which all
    have the name of the video, are named by their numbers: `frame_000000.jpg`.

    Args:
        frames: The frames.
        of_video: Whether they are of a video.
    """

    def __init__(self, frames: Iterable[Frame], *, of_video: bool) -> None:
        self._stems: dict[int, str] = {}
        self._suffixes: dict[int, str] = {}
        taken: set[str] = set()
        for frame in frames:
            name = f"frame_{frame.number:06}.jpg" if of_video else _safe(frame)
            suffix = _image_suffix(name)
            stem = name.removesuffix(suffix)
            while (key := unicodedata.normalize("NFC", stem).casefold()) in taken:
                stem = f"{stem}_{frame.number}"
            taken.add(key)
            self._stems[frame.number] = stem
            self._suffixes[frame.number] = suffix

    def image(self, number: int) -> str:
        """The name of a frame's image."""
        return self._stems[number] + self._suffixes[number]

    def text(self, number: int) -> str:
        """The name of the text file for a frame's image."""
        return f"{self._stems[number]}.txt"

    def fit_to(self, number: int, image_format: str | None) -> None:
        """Correct the suffix of an image to match its format: readers rely on the suffix."""
        known = PIL.Image.registered_extensions()
        is_jpeg = image_format in ("JPEG", "MPO")  # MPO: a JPEG file with several images
        image_format = "JPEG" if is_jpeg else image_format
        if image_format is not None and known.get(self._suffixes[number].lower()) != image_format:
            self._suffixes[number] = ".jpg" if is_jpeg else f".{image_format.lower()}"

    def changed(self, frames: Iterable[Frame]) -> Iterator[tuple[str, str]]:
        """The names that were changed: the name in the task, and the file name."""
        for frame in frames:
            if (name := self.image(frame.number)) != frame.name:
                yield frame.name, name


def _safe(frame: Frame) -> str:
    parts = [part for part in map(_safe_part, re.split(r"[/\\]", frame.name)) if part]
    return "/".join(parts) or f"frame_{frame.number:06}"


def _safe_part(part: str) -> str:
    part = _FORBIDDEN.sub("_", part.encode(errors="replace").decode()).strip(" .")
    suffix = _image_suffix(part)
    stem = part.removesuffix(suffix).encode()[:_MAX_BYTES].decode(errors="ignore")
    return stem + suffix


def _image_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if suffix.lower() in PIL.Image.registered_extensions() else ""
