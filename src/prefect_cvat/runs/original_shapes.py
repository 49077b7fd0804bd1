"""The shapes to refine, read job by job and stored on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from prefect_cvat.annotations.content_digest import attribute_defaults, content_digest
from prefect_cvat.cvat.client import Client
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.options.refine_options import PROMPTING_TYPES, RefineOptions
from prefect_cvat.planning.plan import Plan
from prefect_cvat.planning.whole_task import read_each_job
from prefect_cvat.records.annotation_index import StoredRecords

__all__ = ["Copies", "OriginalShapes"]

Copies: TypeAlias = list[tuple[int, dict[str, Any]]]
"""The copies of a shape in overlapping jobs: job id, and the server's JSON object."""


class OriginalShapes:
    """The shapes to refine, and duplicate results of earlier runs.

    Args:
        plan: The jobs and frames.
        options: Which shapes to refine.
        sources: The sources of results.

    Attributes:
        jobs: The ids of jobs with shapes to refine.
        kinds: The types of the shapes, each with its number of coordinates.
        labels: The label ids of the shapes.
        duplicates: Duplicate results of earlier runs, by job id. They are removed now, because no later run
            would find them once their originals are removed.
        defaults: The default attribute values by label id.
        names: The names of the task's labels by id.

    Raises:
        ValueError: The task lacks a label that the options name.
    """

    def __init__(self, plan: Plan, options: RefineOptions, sources: frozenset[str]) -> None:
        self.jobs: set[int] = set()
        self.kinds: set[tuple[str, int]] = set()
        self.labels: set[int] = set()
        self.duplicates: dict[int, StoredRecords] = {}
        self.defaults = attribute_defaults(plan.info.labels)
        self.names = {label.id: label.name for label in plan.info.labels}
        self._plan = plan
        self._options = options
        self._sources = sources
        self._is_selected = self._filter()
        self._lines = LinesByFrame()

    def read(self, client: Client) -> None:
        """Read the shapes of all jobs, one shape at a time."""
        for job, held in read_each_job(client, self._plan.info, self._plan.jobs):
            results = bytearray()
            for kind, shape in held:
                if kind != "shapes" or not self._is_selected(shape):
                    continue
                if self._is_original(shape):
                    self.jobs.add(job.id)
                    self.kinds.add((shape["type"], len(shape["points"])))
                    self.labels.add(shape["label_id"])
                    self._lines.add(shape["frame"], to_json([job.id, shape]))
                elif shape["type"] == self._options.to and shape.get("source") in self._sources:
                    results += StoredRecords.pack([(kind, shape["id"], content_digest(shape, self.defaults))])
            if duplicates := StoredRecords(bytes(results)).duplicates():
                self.duplicates[job.id] = duplicates

    def has(self, frame: int) -> bool:
        """Whether a frame has shapes to refine."""
        return self._lines.has(frame)

    def on_frame(self, frame: int) -> dict[bytes, Copies]:
        """The shapes to refine on a frame, by identity."""
        shapes: dict[bytes, Copies] = {}
        for line in self._lines.of(frame):
            job_id, shape = from_json(line)
            shapes.setdefault(content_digest(shape, self.defaults), []).append((job_id, shape))
        return shapes

    def counts(self) -> Counter[str]:
        """Number of shapes to refine by label name; copies in several jobs count once."""
        return Counter(
            self.names[copies[0][1]["label_id"]]
            for frame in self._lines.frames()
            for copies in self.on_frame(frame).values()
        )

    def _is_original(self, shape: Mapping[str, Any]) -> bool:
        options = self._options
        types = PROMPTING_TYPES if options.shape_types is None else options.shape_types
        is_of_source = options.sources is None or (shape.get("source") or "manual") in options.sources
        return shape["type"] in types and is_of_source

    def _filter(self) -> Callable[[Mapping[str, Any]], bool]:
        """A predicate: whether a shape has a frame and a label of this run."""
        wanted = self._options.labels
        task, names = self._plan.task, set(self.names.values())
        for name in wanted or ():
            if name not in names:
                raise ValueError(
                    f"task {task.id} ({task.name!r}) has no label {name!r}{did_you_mean(name, names)}"
                )
        labels = {i for i, name in self.names.items() if wanted is None or name in wanted}
        frames = self._plan.frames
        return lambda shape: frames.has(shape["frame"]) and shape["label_id"] in labels
