"""Frames of a video file of the user, decoded with PyAV (extra `video`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count as count_up
from pathlib import Path
from typing import Any

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.extras import import_library
from prefect_cvat.frames import Frame
from prefect_cvat.media.untrusted_images import check_memory
from prefect_cvat.media.video_chunk import BYTES_PER_PIXEL, TURNS
from prefect_cvat.messages.plurals import pluralize

__all__ = ["VIDEO_FORMATS", "read_video_frames"]

VIDEO_FORMATS = {
    ".avi": "avi",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".webm": "matroska",
}
"""FFmpeg's names of formats by suffix. A playlist could make it open other files and addresses."""


def read_video_frames(
    path: Path, numbers: Collection[int] | None = None
) -> Iterator[tuple[Frame, PIL.Image.Image]]:
    """Decode frames of a video, upright; the frames before them are decoded, too.

    Args:
        path: The file.
        numbers: The numbers of the frames, from 0; None for all.

    Yields:
        Each frame with its image, in ascending order.

    Raises:
        MediaError: The file is not a video that can be decoded, or has fewer frames.
        MissingLibraryError: PyAV is not installed.
    """
    av = import_library("av", "videos")
    wanted = count_up() if numbers is None else sorted(set(numbers))
    count = 0
    try:
        with av.open(str(path), format=VIDEO_FORMATS[path.suffix.lower()]) as container:
            if not container.streams.video:
                raise MediaError(f"{str(path)!r} holds no video")
            pictures = container.decode(container.streams.video[0])
            for number in wanted:
                while count <= number and (picture := next(pictures, None)) is not None:
                    count += 1
                if count <= number:
                    break
                yield _image(path, number, picture)
    except av.error.FFmpegError as error:
        raise MediaError(f"{str(path)!r} cannot be decoded: {error.strerror}") from error
    if numbers is not None and count <= (last := max(numbers, default=-1)):
        raise MediaError(f"{str(path)!r} has {pluralize(count, 'frame')}, and no frame {last}")


def _image(path: Path, number: int, picture: Any) -> tuple[Frame, PIL.Image.Image]:
    size = picture.width, picture.height
    check_memory(f"frame {number} of {str(path)!r}", size, BYTES_PER_PIXEL * size[0] * size[1])
    image: PIL.Image.Image = picture.to_image()
    if (turn := TURNS.get(picture.rotation % 360)) is not None:
        image = image.transpose(turn)
    return Frame(number, f"{path.name}, frame {number}", image.width, image.height), image
