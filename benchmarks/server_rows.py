"""The rows of `server.py`: what is in a task, on what link, and who runs on it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from servers import make_task

from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec

FULL_HD = (1920, 1080)
SMALL = (320, 240)
TINY = (96, 64)


@dataclass(frozen=True, kw_only=True)
class Media:
    """What is in a task.

    Attributes:
        frames: Number of its frames.
        size: Their width and height in pixels.
        jobs: Number of its jobs.
        chunk_size: Frames in a chunk, as CVAT chooses it by the size of images, up to 72, and 36 for videos.
        is_video: Whether it is a video, rather than images.
    """

    frames: int
    size: tuple[int, int]
    jobs: int = 1
    chunk_size: int = 36
    is_video: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        title: What it is, in words.
        media: What is in the task.
        boxes: Rectangles that the function finds on each frame.
        are_decoded: Whether the function looks at the pixels.
        are_chunks_made: Whether the server has made the chunks before.
        round_trip_seconds: Round trip of the link.
        bytes_per_second: Bandwidth of the link; None for no limit.
        has_sdk: Whether the SDK takes such a task.
        has_bare: Whether the chunks are also fetched without anything else, four at a time.
        has_again: Whether we run again, with nothing to add.
        is_long: Whether `--quick` leaves it out.
    """

    title: str
    media: Media
    boxes: int = 20
    are_decoded: bool = False
    are_chunks_made: bool = False
    round_trip_seconds: float = 0.001
    bytes_per_second: float | None = None
    has_sdk: bool = True
    has_bare: bool = False
    has_again: bool = False
    is_long: bool = False


_FULL_HD = Media(frames=180, size=FULL_HD)
_4K = Media(frames=36, size=(3840, 2160), chunk_size=9)
_VIDEO = Media(frames=180, size=(1280, 720), is_video=True)


def _in_jobs(jobs: int) -> Media:
    return Media(frames=300, size=SMALL, jobs=jobs)


ROWS = {
    "1080p": Row(
        title="180 frames of 1920x1080, first time", media=_FULL_HD, boxes=1, are_decoded=True, has_bare=True
    ),
    "1080p-long": Row(
        title="720 frames of 1920x1080, first time",
        media=Media(frames=720, size=FULL_HD),
        boxes=1,
        are_decoded=True,
        has_bare=True,
        is_long=True,
    ),
    "1080p-made": Row(
        title="180 frames of 1920x1080, chunks made",
        media=_FULL_HD,
        boxes=1,
        are_decoded=True,
        are_chunks_made=True,
        has_bare=True,
    ),
    "4k": Row(
        title="36 frames of 3840x2160, first time", media=_4K, boxes=1, are_decoded=True, has_bare=True
    ),
    "video": Row(
        title="video, 180 frames of 1280x720, chunks made",
        media=_VIDEO,
        boxes=1,
        are_decoded=True,
        are_chunks_made=True,
        has_sdk=False,
        has_bare=True,
    ),
    "jobs-1": Row(title="300 small frames, 1 job", media=_in_jobs(1), has_again=True),
    "jobs-10": Row(title="300 small frames, 10 jobs", media=_in_jobs(10), has_again=True),
    "jobs-60": Row(title="300 small frames, 60 jobs", media=_in_jobs(60), has_again=True),
    "jobs-300": Row(title="300 small frames, 300 jobs", media=_in_jobs(300), has_again=True, is_long=True),
    "frames-100": Row(title="100 tiny frames, 2 jobs", media=Media(frames=100, size=TINY, jobs=2)),
    "frames-4000": Row(
        title="4,000 tiny frames, 20 jobs", media=Media(frames=4000, size=TINY, jobs=20), is_long=True
    ),
    "link-100ms": Row(
        title="300 small frames, 10 jobs, 100 ms", media=_in_jobs(10), round_trip_seconds=0.1, has_again=True
    ),
    "link-100MB": Row(
        title="180 frames of 1920x1080, 100 MB/s",
        media=_FULL_HD,
        boxes=1,
        are_decoded=True,
        are_chunks_made=True,
        bytes_per_second=100e6,
        has_bare=True,
    ),
    "link-10MB": Row(
        title="180 frames of 1920x1080, 10 MB/s",
        media=_FULL_HD,
        boxes=1,
        are_decoded=True,
        are_chunks_made=True,
        bytes_per_second=10e6,
        has_bare=True,
        is_long=True,
    ),
}
"""By name. The link is of 1 ms and without a limit where a row does not say otherwise."""


def create(client: Client, media: Media) -> int:
    """Create a task; return its number."""
    segment_size = -(-media.frames // media.jobs)
    if not media.is_video:
        return make_task(
            client,
            media.frames,
            labels=["car"],
            size=media.size,
            quality=70,
            chunk_size=media.chunk_size,
            segment_size=segment_size,
        )
    task = client.create_task("benchmark", [label_spec("car", None)], segment_size=segment_size)
    client.upload_images(task.id, {"clip.mp4": _clip(media)}, chunk_size=media.chunk_size)
    return task.id


@cache
def _clip(media: Media) -> bytes:
    """Smooth noise that moves."""
    import av

    width, height = media.size
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    picture = noise.repeat(4, axis=0).repeat(4, axis=1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(media.frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 6 * number, axis=1))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
