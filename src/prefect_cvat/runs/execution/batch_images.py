"""The images of batches for a detection function; those of the next batch are prepared while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

from prefect_cvat.frames import ChunkBatch, Frame
from prefect_cvat.inference.detector import Detector
from prefect_cvat.inference.image_feed import FedImages
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.media.spooled_chunks import BatchChunks
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.execution.run_chunks import RunChunks

__all__ = ["BatchImages"]


class _Prepared(NamedTuple):
    """A batch whose images are being prepared before its turn."""

    batch: Batch
    source: BatchChunks
    images: FedImages


class BatchImages:
    """The images of the batches of a run.

    Args:
        detector: The function.
        plan: The plan of the run.
        chunks: The chunks of the run.
        frames_to_detect: Returns the frames of a batch whose detections are not known.
    """

    def __init__(
        self,
        detector: Detector,
        plan: Plan,
        chunks: RunChunks,
        frames_to_detect: Callable[[Batch, ChunkBatch], Sequence[Frame]],
    ) -> None:
        self._detector = detector
        self._plan = plan
        self._chunks = chunks
        self._frames_to_detect = frames_to_detect
        self._fetched: dict[int, tuple[Batch, ChunkBatch]] = {}
        self._prepared: _Prepared | None = None

    def add(self, batch: Batch, chunks: ChunkBatch) -> None:
        """Add a batch whose chunks are being downloaded: it may be prepared."""
        if chunks.chunks:
            self._fetched[batch.index] = batch, chunks

    @contextmanager
    def of_batch(
        self, batch: Batch, frames: Sequence[Frame], chunks: ChunkBatch, source: BatchChunks
    ) -> Iterator[FedImages]:
        """The images of a batch, closed at the end."""
        self._fetched.pop(batch.index, None)
        if (prepared := self._prepared) is not None and prepared.batch is batch:
            self._prepared = None
            prepared.source.waiting = source.waiting
            images = prepared.images
        else:  # a batch after it stays prepared where this one is tried again
            images = self._feed(frames, chunks, source)
        images.following = lambda: self._prepare(batch.index + 1)
        with closing(images):
            yield images

    def close(self) -> None:
        """Close the images of the next batch."""
        if self._prepared is not None:
            self._prepared.images.close()

    def _prepare(self, index: int) -> FedImages | None:
        """Open the images of the next batch, if it is fetched already."""
        if self._prepared is None and index in self._fetched:
            batch, chunks = self._fetched[index]
            first = chunks.chunks[0] if chunks.chunks else None
            if first is not None and self._chunks.is_on_disk(first.number):
                source = self._chunks.of_batch()
                images = self._feed(self._frames_to_detect(batch, chunks), chunks, source)
                self._prepared = _Prepared(batch, source, images)
        return None if self._prepared is None else self._prepared.images

    def _feed(self, frames: Sequence[Frame], chunks: ChunkBatch, source: BatchChunks) -> FedImages:
        def is_available(index: int) -> bool:
            if index >= len(frames):
                return True
            chunk, _ = self._plan.part_of(frames[index].number)
            return self._chunks.is_on_disk(chunk)

        return self._detector.feed(open_frames(chunks, frames, source=source), is_available)
