"""Downloading chunks of a task to disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from prefect_cvat.cvat.chunk_requests import MAX_CHUNK_BYTES
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError, StorageError, UnsupportedTaskError
from prefect_cvat.extras import explain_missing
from prefect_cvat.frames import ChunkFile, ChunkType, Quality
from prefect_cvat.http.interruption import Interruption
from prefect_cvat.media.chunk_checks import problem_of_chunk
from prefect_cvat.media.image_chunk import MAX_FRAME_BYTES
from prefect_cvat.media.video_chunk import import_pyav
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import shorten
from prefect_cvat.models import Task
from prefect_cvat.planning.plan import Plan

__all__ = ["chunk_file", "chunk_type", "fetch_chunk"]

_SUFFIXES: dict[ChunkType, str] = {"imageset": ".zip", "video": ".mp4"}


def chunk_type(task: Task, quality: Quality = "original") -> ChunkType:
    """The type of a task's chunks, checked: chunks of some types cannot be used.

    Args:
        task: A task that has data.
        quality: `original` or `compressed`.

    Raises:
        UnsupportedTaskError: The type is unknown, or the chunks are compressed videos, or they are videos and
            PyAV is not installed.
    """
    name = f"task {task.id} ({task.name!r})"
    is_original = quality == "original"
    found = task.data_original_chunk_type if is_original else task.data_compressed_chunk_type
    if found == "imageset":
        return "imageset"
    if found != "video":
        raise UnsupportedTaskError(f"the {quality} chunks of {name} are of an unknown type: {found!r}")
    if not is_original:
        # CVAT 2.73, Mpeg4CompressedChunkWriter: halved until they have fewer than 1080 rows
        raise UnsupportedTaskError(
            f"the compressed chunks of {name} are videos, in which CVAT makes large frames smaller, so that"
            f" what is found would be in the wrong place; use {argument('quality', 'original')}, or create"
            " the task with use_zip_chunks=True"
        )
    try:
        import_pyav()
    except ImportError as error:
        instead = (
            f", or use {argument('quality', 'compressed')}"
            if task.data_compressed_chunk_type == "imageset"
            else ""
        )
        raise UnsupportedTaskError(
            f"{name} is a video, and PyAV, which decodes it, cannot be imported ({error});"
            f" {explain_missing(error, 'av')}{instead}"
        ) from error
    return "video"


def chunk_file(plan: Plan, number: int, folder: Path, quality: Quality = "original") -> ChunkFile:
    """The result of `fetch_chunk`, before the chunk is on disk. Raises `UnsupportedTaskError`, too."""
    kind = chunk_type(plan.task, quality)
    place = plan.chunk_place(number)
    path = folder / f"chunk-{number}{_SUFFIXES[kind]}"
    return ChunkFile(number, path, place.first_frame, place.length, kind)


def fetch_chunk(
    client: Client,
    plan: Plan,
    number: int,
    folder: Path,
    quality: Quality = "original",
    *,
    interruption: Interruption | None = None,
) -> ChunkFile:
    """Download a chunk into a folder, from the task or from one of its jobs.

    Args:
        client: The server.
        plan: The plan of the run, with the positions of the chunks.
        number: The number of the chunk.
        folder: The folder.
        quality: `original` or `compressed`.
        interruption: Can interrupt the download, and waits between attempts.

    Raises:
        ResponseTooLargeError: It is too large for its number of frames.
        UnsupportedTaskError: Chunks of this quality cannot be used, see `chunk_type`.
        StorageError: It cannot be written to the folder.
        TransportError: No attempt returned a complete chunk.
    """
    chunk = chunk_file(plan, number, folder, quality)
    place = plan.chunk_place(number)
    fetch = partial(client.chunk, plan.task.id) if place.job is None else partial(client.job_chunk, place.job)
    try:
        with chunk.path.open("w+b", buffering=0) as file:
            fetch(
                place.index,
                file,
                quality=quality,
                max_bytes=min(MAX_FRAME_BYTES * (place.length + 1), MAX_CHUNK_BYTES),
                validate=lambda file: problem_of_chunk(file, chunk.type, place.length),
                interruption=interruption,
            )
    except BaseException as error:
        chunk.path.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, PrefectCvatError):
            raise StorageError(f"{chunk} cannot be written to {folder}: {error}") from error
        if isinstance(error, PrefectCvatError) and error.args:
            error.args = (shorten(f"{chunk}: {error.args[0]}"), *error.args[1:])
        raise
    return chunk
