"""The chunks of a run: those of its task, downloaded as its options say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from prefect_cvat.frames import ChunkFile
from prefect_cvat.media.chunk_download import chunk_file, fetch_chunk
from prefect_cvat.media.download_limit import DownloadLimit
from prefect_cvat.media.spooled_chunks import AHEAD, SpooledChunks
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.execution.run_context import RunContext
from prefect_cvat.settings import current_settings

__all__ = ["RunChunks"]


class RunChunks(SpooledChunks):
    """The chunks of a run on disk.

    Args:
        context: Server, options, report.
        plan: What to do.
        folder: The folder for the chunks.
        on_chunk: Called with each chunk that was downloaded, by the thread that has downloaded it.
        default_image_bytes: Maximum memory for decoding an image, unless the user has set it, in bytes; None
            takes the default of the setting.
    """

    def __init__(
        self,
        context: RunContext,
        plan: Plan,
        folder: Path,
        on_chunk: Callable[[ChunkFile], object],
        default_image_bytes: int | None,
    ) -> None:
        settings = current_settings()
        super().__init__(
            self._download_chunk,
            DownloadLimit(context.options.downloads),
            max_bytes=settings.max_spool_bytes,
            count_pixels=self._count_pixels_of,
        )
        self._context = context
        self._plan = plan
        self._folder = folder
        self._on_chunk = on_chunk
        is_set = "max_image_bytes" in settings.model_fields_set
        self._max_image_bytes = None if is_set else default_image_bytes

    def file(self, number: int) -> ChunkFile:
        """A chunk, also before it is on disk."""
        chunk = chunk_file(self._plan, number, self._folder, self._context.options.quality)
        return replace(chunk, max_image_bytes=self._max_image_bytes)

    def reserve(self, batch: Batch, following: Iterable[int], *, is_certain: bool = True) -> None:
        """Keep the chunks of a batch until it is done, and chunks after it until the next batch is made.

        Args:
            batch: The batch.
            following: The numbers of the chunks after it.
            is_certain: Whether these will be needed, so that they can be downloaded already.
        """
        # in this order, so that no chunk of the batch is deleted that was kept for it
        self.need(batch.index, batch.chunks)
        (self.request if is_certain else self.need)(AHEAD, dict.fromkeys(following))

    def _download_chunk(self, number: int) -> ChunkFile:
        with self._context.timing("fetch"):
            fetch_chunk(
                self._context.client,
                self._plan,
                number,
                self._folder,
                self._context.options.quality,
                interruption=self.slots,
            )
        chunk = self.file(number)
        self._on_chunk(chunk)
        return chunk

    def _count_pixels_of(self, number: int) -> int:
        """The number of pixels of a chunk if all of its frames are as large as the first that is selected."""
        place = self._plan.chunk_place(number)
        end = place.first_frame + place.length
        first = next(iter(self._plan.frames_between(place.first_frame, end - 1)), None)
        return 0 if first is None else place.length * first.width * first.height
