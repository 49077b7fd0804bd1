"""Chunks and single frames of video tasks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from prefect_cvat.sandbox.media import video
from prefect_cvat.sandbox.media.data_parameters import step_of
from prefect_cvat.sandbox.media.image_chunks import frame_files, zipped
from prefect_cvat.sandbox.media.images import encoded
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.storage.database import Row


def video_chunk(state: State, task: Row, frames: Sequence[int], *, quality: int | None) -> bytes:
    """A chunk of a video task: an MP4, or a zip of compressed images if the task is set so."""
    images = _images(state, task, frames)
    if quality is None or task["compressed_chunk_type"] == "video":
        return video.encode_video(images, quality=quality)
    return zipped((encoded(image, "JPEG", quality=quality), ".jpeg") for image in images)


def video_frame(state: State, task: Row, frame: int, kind: str) -> bytes:
    """One frame of a video task, as PNG or JPEG."""
    (image,) = _images(state, task, [frame])
    return encoded(image, kind)


def _images(state: State, task: Row, frames: Sequence[int]) -> Iterator[Image.Image]:
    step = step_of(task["frame_filter"])
    return video.video_frames(_file(state, task), [task["start_frame"] + frame * step for frame in frames])


def _file(state: State, task: Row) -> Path:
    with state.database.read() as db:
        return frame_files(state, db, task["data_id"], [0])[0].path
