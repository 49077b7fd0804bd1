"""Reads frames of a task with their images, one chunk on disk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import PIL.Image

from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import ChunkBatch, Frame, Quality
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.media.untrusted_images import decode_pixels
from prefect_cvat.planning.plan import Plan

__all__ = ["read_task_frames"]


def read_task_frames(
    client: Client,
    plan: Plan,
    folder: Path,
    *,
    quality: Quality = "original",
    max_frames: int | None = None,
) -> Iterator[tuple[Frame, PIL.Image.Image]]:
    """Download the chunks of a plan one after the other, and decode the images of its frames.

    Args:
        client: A client that is logged in.
        plan: The frames.
        folder: The folder for the chunk that is being read; it is empty again at the end.
        quality: `original` or `compressed`.
        max_frames: Read only the first so many frames; None reads all.

    Yields:
        Each frame with its decoded image, in ascending order.

    Raises:
        MediaError: An image cannot be decoded.
        PrefectCvatError: A chunk cannot be downloaded.
    """
    remaining = len(plan.frames) if max_frames is None else max_frames
    for number, in_chunk in plan.chunks():
        frames = in_chunk[:remaining]
        if not frames:
            return
        remaining -= len(frames)
        chunk = fetch_chunk(client, plan, number, folder, quality)
        try:
            with closing(open_frames(ChunkBatch([chunk]), frames)) as opened:
                for frame, image in opened:
                    decode_pixels(image, frame)
                    yield frame, image
                    del image  # otherwise it would stay in memory while the next one is opened
        finally:
            chunk.path.unlink(missing_ok=True)
