"""Shapes that runs wrote and people have deleted, by frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.corrections.task_corrections import TaskCorrections
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import RunNotFoundError
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.planning.plan import Plan

__all__ = ["DeletedShapes"]


class DeletedShapes:
    """The deleted shapes on the frames of a plan, on disk. Not thread-safe.

    They are known from the records of runs on this machine. Deleted tracks are left out: it is not known
    which of their shapes were wrong.

    Args:
        client: The server.
        plan: The frames and jobs.

    Raises:
        StorageError: A record cannot be read.
        PrefectCvatError: A request to the server failed.
    """

    def __init__(self, client: Client, plan: Plan) -> None:
        self._lines = LinesByFrame()
        try:
            corrections = TaskCorrections(client, plan, ())
        except RunNotFoundError:
            return
        for each in corrections:
            if each.kind == "deleted" and each.written is not None and "type" in each.written:
                self._lines.add(each.frame, to_json(each.written))

    def on_frame(self, number: int) -> list[Mapping[str, Any]]:
        """The deleted shapes on a frame, as the JSON objects that were sent."""
        return [from_json(line) for line in self._lines.of(number)]
