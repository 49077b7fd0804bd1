"""The file names of frames in a dataset.

Frame names in CVAT are untrusted input: they may lead out of the folder, or several frames may have the same.
They are kept unchanged if possible.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath

import numpy as np
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

    def __init__(self, frames: Sequence[Frame], *, of_video: bool) -> None:
        self._of_video = of_video
        # a million names would take hundreds of megabytes: these are only those that differ from the task's
        self._stems: dict[int, str] = {}
        self._suffixes: dict[int, str] = {}
        if not of_video:
            self._make_unique(frames)

    def image(self, frame: Frame) -> str:
        """The name of a frame's image."""
        stem, suffix = self._parts(frame)
        return stem + suffix

    def text(self, frame: Frame) -> str:
        """The name of the text file for a frame's image."""
        return f"{self._parts(frame)[0]}.txt"

    def fit_to(self, frame: Frame, image_format: str | None) -> None:
        """Correct the suffix of an image to match its format: readers rely on the suffix."""
        known = PIL.Image.registered_extensions()
        is_jpeg = image_format in ("JPEG", "MPO")  # MPO: a JPEG file with several images
        image_format = "JPEG" if is_jpeg else image_format
        if image_format is not None and known.get(self._parts(frame)[1].lower()) != image_format:
            self._suffixes[frame.number] = ".jpg" if is_jpeg else f".{image_format.lower()}"

    def changed(self, frames: Iterable[Frame]) -> Iterator[tuple[str, str]]:
        """The names that were changed: the name in the task, and the file name."""
        for frame in frames:
            if (name := self.image(frame)) != frame.name:
                yield frame.name, name

    def _parts(self, frame: Frame) -> tuple[str, str]:
        stem, suffix = _split(f"frame_{frame.number:06}.jpg" if self._of_video else _safe(frame))
        return self._stems.get(frame.number, stem), self._suffixes.get(frame.number, suffix)

    def _make_unique(self, frames: Sequence[Frame]) -> None:
        """Give other stems to frames whose stems an earlier one has."""
        digests = array("Q", (_digest(self._parts(frame)[0]) for frame in frames))
        in_order = np.argsort(np.frombuffer(digests, dtype=np.uint64), kind="stable")
        ascending = array("Q", np.frombuffer(digests, dtype=np.uint64)[in_order].tobytes())
        taken: set[int] = set()  # by stems that were given

        def is_taken(digest: int, index: int) -> bool:
            """Whether the stem is that of a frame before the one with this index."""
            place = bisect_left(ascending, digest)
            is_there = place < len(ascending) and ascending[place] == digest
            return digest in taken or (is_there and int(in_order[place]) < index)

        for index, frame in enumerate(frames):
            if not is_taken(digests[index], index):
                continue
            stem = self._parts(frame)[0]
            while is_taken(digest := _digest(stem), index):
                stem = f"{stem}_{frame.number}"
            taken.add(digest)
            self._stems[frame.number] = stem


def _digest(stem: str) -> int:
    """Eight bytes of what file systems may take for the same stem."""
    key = unicodedata.normalize("NFC", stem).casefold()
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest())


def _split(name: str) -> tuple[str, str]:
    suffix = _image_suffix(name)
    return name.removesuffix(suffix), suffix


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
