"""How a task's frames are laid out: into jobs, and with copies of validation frames among them."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_cvat.sandbox.storage.database import Row

_VIDEO_OVERLAP = 5


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The slices of a task.

    Attributes:
        size: Frames in a slice, the last one excepted.
        overlap: Frames that neighbours share.
        borders: The first and the last frame of each.
    """

    size: int
    overlap: int
    borders: tuple[tuple[int, int], ...]


def split(count: int, *, segment_size: int, overlap: int | None, video: bool) -> Segments:
    """Slices `count` frames.

    Args:
        count: Frames of the task.
        segment_size: What was asked for; 0 for one slice.
        overlap: What was asked for; None for CVAT's default: 5 frames of a video, none of images.
        video: Whether the task is a video.
    """
    size = segment_size if 0 < segment_size < count else count
    if size == count:
        return Segments(size=segment_size or count, overlap=0, borders=((0, count - 1),))
    asked = overlap if overlap is not None else (_VIDEO_OVERLAP if video else 0)
    shared = min(asked, size // 2)
    borders = tuple(
        (start, min(start + size, count) - 1) for start in range(0, count - shared, size - shared)
    )
    return Segments(size=size, overlap=shared, borders=borders)


@dataclass(frozen=True, kw_only=True)
class PoolLayout:
    """The frames of a task with a ground truth pool.

    Attributes:
        sources: For each frame, which of the media it shows.
        real_frames: For each honeypot, the frame of the pool that it copies.
        borders: The first and last frame of each annotation job.
        pool: The first and last frame of the ground truth job.
    """

    sources: tuple[int, ...]
    real_frames: dict[int, int]
    borders: tuple[tuple[int, int], ...]
    pool: tuple[int, int]


def lay_out_pool(
    order: Sequence[int], pool: Sequence[int], *, segment_size: int, per_job: int, generator: random.Random
) -> PoolLayout:
    """Puts copies of validation frames (honeypots) into every job, and the originals into a job behind them.

    Args:
        order: The media in their order.
        pool: Those of them that are for validation.
        segment_size: Ordinary frames in a job; 0 for all in one.
        per_job: Honeypots in each job.
        generator: Decides what goes where.
    """
    ordinary = [source for source in order if source not in set(pool)]
    size = segment_size or len(ordinary)
    slices = [ordinary[start : start + size] for start in range(0, len(ordinary), size)]
    first_of_pool = len(ordinary) + per_job * len(slices)
    sources: list[int] = []
    real_frames: dict[int, int] = {}
    borders = []
    for own in slices:
        start = len(sources)
        positions = sorted(generator.sample(range(len(own) + per_job), per_job))
        copies = dict(zip(positions, generator.sample(range(len(pool)), per_job), strict=True))
        rest = iter(own)
        for position in range(len(own) + per_job):
            if position in copies:
                real_frames[len(sources)] = first_of_pool + copies[position]
                sources.append(pool[copies[position]])
            else:
                sources.append(next(rest))
        borders.append((start, len(sources) - 1))
    return PoolLayout(
        sources=(*sources, *pool),
        real_frames=real_frames,
        borders=tuple(borders),
        pool=(first_of_pool, first_of_pool + len(pool) - 1),
    )


def default_chunk_size(width: int, height: int) -> int:
    """Frames in a chunk of images, as CVAT 2.73 chooses it: fewer of large ones, 2 to 72."""
    return max(2, min(72, 36 * 1920 * 1080 // max(1, width * height)))


def frames_of_job(job: Row) -> list[int]:
    """The frames that a job has, relative to the task."""
    if job["frames"] is not None:
        frames: list[int] = json.loads(job["frames"])
        return frames
    return list(range(job["start_frame"], job["stop_frame"] + 1))
