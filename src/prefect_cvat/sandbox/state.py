"""The state that all handlers share."""

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from prefect_cvat.sandbox.batch_queue import BatchQueue
from prefect_cvat.sandbox.nuclio import Nuclio
from prefect_cvat.sandbox.slowness.slow_server import SlowServer
from prefect_cvat.sandbox.storage.database import Database
from prefect_cvat.sandbox.webhook_delivery.webhook_sender import WebhookSender
from prefect_cvat.sandbox.worker import Worker


@dataclass(frozen=True, kw_only=True)
class State:
    """The database, the folders and the background threads of one server."""

    folder: Path
    database: Database
    worker: Worker
    sender: WebhookSender
    slow: SlowServer
    nuclio: Nuclio | None = None
    batches: BatchQueue = field(default_factory=BatchQueue)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def uploads(self, task_id: int) -> Path:
        """Folder of the files that are being uploaded for a task."""
        return self.folder / "uploads" / str(task_id)

    def media(self, data_id: int) -> Path:
        """Folder of the images or the video of a task's data."""
        return self.folder / "data" / str(data_id) / "raw"

    def chunks(self, data_id: int) -> Path:
        """Folder of the chunks that were already built."""
        return self.folder / "data" / str(data_id) / "chunks"

    def forget_chunks(self) -> None:
        """Delete all cached chunks, so that each is made again when it is requested."""
        for folder in self.folder.glob("data/*/chunks"):
            shutil.rmtree(folder)
        self.slow.forget_chunks()
