"""How the frames of a task are split into jobs, with or without honeypots."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_cvat.sandbox.storage.database import Row

_VIDEO_OVERLAP = 5


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The jobs of a task.

    Attributes:
        size: Frames in each job except the last.
        overlap: Frames that two consecutive jobs share.
        borders: First and last frame of each job.
    """

    size: int
    overlap: int
    borders: tuple[tuple[int, int], ...]


def split(count: int, *, segment_size: int, overlap: int | None, video: bool) -> Segments:
    """Split `count` frames into jobs.

    Args:
        count: Frames of the task.
        segment_size: Requested frames in a job; 0 for one job.
        overlap: Requested overlap in frames; None for CVAT's default, 5 in a video and 0 in images.
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
        sources: For each frame, the index of the image that it shows.
        real_frames: For each honeypot frame, the ground truth frame that it copies.
        borders: First and last frame of each annotation job.
        pool: First and last frame of the ground truth job.
    """

    sources: tuple[int, ...]
    real_frames: dict[int, int]
    borders: tuple[tuple[int, int], ...]
    pool: tuple[int, int]


def pool_layout(
    order: Sequence[int], pool: Sequence[int], *, segment_size: int, per_job: int, generator: random.Random
) -> PoolLayout:
    """Put honeypots (copies of ground truth frames) into every job, and the originals into a last job.

    Args:
        order: The images in their order.
        pool: The ground truth images.
        segment_size: Other frames in a job; 0 for one job.
        per_job: Honeypots in a job.
        generator: Draws the honeypots and their positions.
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
    """Images in a chunk, as in CVAT 2.73: 2 to 72, fewer if they are large."""
    return max(2, min(72, 36 * 1920 * 1080 // max(1, width * height)))


def frames_of_job(job: Row) -> list[int]:
    """The frames of a job, as numbers of the task."""
    if job["frames"] is not None:
        frames: list[int] = json.loads(job["frames"])
        return frames
    return list(range(job["start_frame"], job["stop_frame"] + 1))
