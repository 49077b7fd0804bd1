"""The memory that tracks take while they are built."""

import random
import tracemalloc

from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder
from tracking.built_tracks import LABELS, job, rectangle


def test_memory_does_not_grow_with_the_frames():
    """Five objects at a time, each for 100 frames, with so much jitter that all shapes are keyframes."""
    jobs = [job(number, 100 * number, 100 * number + 99) for number in range(20)]
    assembler = TrackBuilder(jobs, TrackOptions(tolerance=0.5), LABELS)
    rng = random.Random(1)

    def run(first, last):
        for frame in range(first, last):
            items = [
                (5 * (frame // 100) + lane, rectangle(*(rng.gauss(0, 9) for _ in range(4))))
                for lane in range(5)
            ]
            assembler.add(frame, items)
            assembler.take()

    def peak(first, last):
        tracemalloc.reset_peak()
        run(first, last)
        return tracemalloc.get_traced_memory()[1]

    run(0, 150)
    tracemalloc.start()
    try:
        early = peak(150, 550)
        run(550, 1450)
        late = peak(1450, 1850)
    finally:
        tracemalloc.stop()
    assert late < 1.5 * early + 100_000  # keeping the shapes in between would take 1,300,000 more
