"""Chunks and single frames of video tasks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from prefect_cvat.sandbox.media import video
from prefect_cvat.sandbox.media.data_parameters import step_of
from prefect_cvat.sandbox.media.image_chunks import sources, zipped
from prefect_cvat.sandbox.media.images import encoded
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.storage.database import Row


def clip_chunk(state: State, task: Row, frames: Sequence[int], *, quality: int | None) -> bytes:
    """A chunk of a video task: an MP4, or, where the task asks for it, a zip of compressed images."""
    images = _images(state, task, frames)
    if quality is None or task["compressed_chunk_type"] == "video":
        return video.clip(images, quality=quality)
    return zipped((encoded(image, "JPEG", quality=quality), ".jpeg") for image in images)


def clip_frame(state: State, task: Row, frame: int, kind: str) -> bytes:
    """One frame of a video task, as PNG or JPEG."""
    (image,) = _images(state, task, [frame])
    return encoded(image, kind)


def _images(state: State, task: Row, frames: Sequence[int]) -> Iterator[Image.Image]:
    step = step_of(task["frame_filter"])
    return video.pictures(_file(state, task), [task["start_frame"] + frame * step for frame in frames])


def _file(state: State, task: Row) -> Path:
    with state.database.read() as db:
        return sources(state, db, task["data_id"], [0])[0].path
