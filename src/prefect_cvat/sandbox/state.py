"""What all the handlers share."""

from dataclasses import dataclass
from pathlib import Path

from prefect_cvat.sandbox.storage.database import Database
from prefect_cvat.sandbox.webhook_delivery.webhook_sender import WebhookSender
from prefect_cvat.sandbox.worker import Worker


@dataclass(frozen=True, kw_only=True)
class State:
    """The database, the files and the workers of one server."""

    folder: Path
    database: Database
    worker: Worker
    sender: WebhookSender

    def uploads(self, task_id: int) -> Path:
        """Where the files that are being sent for a task wait."""
        return self.folder / "uploads" / str(task_id)

    def media(self, data_id: int) -> Path:
        """Where the files of a task's data are kept."""
        return self.folder / "data" / str(data_id) / "raw"

    def chunks(self, data_id: int) -> Path:
        """Where the chunks that were made already are kept."""
        return self.folder / "data" / str(data_id) / "chunks"
