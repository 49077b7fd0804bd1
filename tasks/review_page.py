"""The page to review the frames of a run: written to a folder of the worker, and linked in Prefect.

A run never fails because of its page. When it cannot be written, the run logs a warning and continues.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect.artifacts import create_link_artifact
from prefect.runtime import flow_run

from prefect_cvat.exceptions import StorageError
from prefect_cvat.settings import Settings
from prefect_cvat.tasks.artifacts import warn_if_not_drawn, warn_if_refused

__all__ = ["publish_page"]

MAX_FRAMES = 200
"""Maximum number of frames of a page: their images are in the page, which is one file."""


def publish_page(task_id: int, description: str, write: Callable[[Path, int], None]) -> None:
    """Write a page to `PREFECT_CVAT_PAGES_DIR`, if it is set, and link it as the artifact `page-task-N`.

    Args:
        task_id: The task.
        description: The description of the artifact, as Markdown.
        write: Writes the page; called with its file and the maximum number of frames.
    """
    settings = Settings()
    if settings.pages_dir is None:
        return
    file = settings.pages_dir / f"task-{task_id}-{flow_run.id}.html"
    with warn_if_not_drawn(f"the page of task {task_id}"):
        _make_folder(settings.pages_dir)
        write(file, MAX_FRAMES)
        link = (
            file.as_uri() if settings.pages_url is None else f"{settings.pages_url.rstrip('/')}/{file.name}"
        )
        with warn_if_refused():
            create_link_artifact(link, "Review the frames", f"page-task-{task_id}", description)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {str(folder)!r} cannot be made: {error.strerror}") from error
