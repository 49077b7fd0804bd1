"""What the files of frames are called in a dataset.

Names in CVAT are as hostile as whoever made the task: they may point out of the folder, or be the same for
several frames. They stay as they are where that can be.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import PIL.Image

from prefect_cvat.frames import Frame

__all__ = ["FileNames"]

_MOST_BYTES = 200
"""How long one part of a name may be. File systems take 255 bytes, and something may be added."""

_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
"""What file systems do not take in a name."""


class FileNames:
    """The file names of frames: relative, within the folder, and different also without their suffixes.

    Those of images are the names that they have in the task, folders included, as far as that is possible;
    frames of videos, which all have the name of the video, are called `frame_000000.jpg` by their numbers.

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
        """The name of a text file that belongs to it."""
        return f"{self._stems[number]}.txt"

    def fit_to(self, number: int, image_format: str | None) -> None:
        """Give an image the suffix of what it is, if it has another: readers go by it."""
        known = PIL.Image.registered_extensions()
        is_so = image_format in ("JPEG", "MPO")  # a JPEG file of several pictures
        image_format = "JPEG" if is_so else image_format
        if image_format is not None and known.get(self._suffixes[number].lower()) != image_format:
            self._suffixes[number] = ".jpg" if is_so else f".{image_format.lower()}"

    def changed(self, frames: Iterable[Frame]) -> Iterator[tuple[str, str]]:
        """The names that could not stay: what they are in the task, and here."""
        for frame in frames:
            if (name := self.image(frame.number)) != frame.name:
                yield frame.name, name


def _safe(frame: Frame) -> str:
    parts = [part for part in map(_safe_part, re.split(r"[/\\]", frame.name)) if part]
    return "/".join(parts) or f"frame_{frame.number:06}"


def _safe_part(part: str) -> str:
    part = _FORBIDDEN.sub("_", part.encode(errors="replace").decode()).strip(" .")
    suffix = _image_suffix(part)
    stem = part.removesuffix(suffix).encode()[:_MOST_BYTES].decode(errors="ignore")
    return stem + suffix


def _image_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if suffix.lower() in PIL.Image.registered_extensions() else ""
