"""A run that turns the rectangles and points of a task into masks or polygons, with an interaction function.

The run can be killed between any two requests. It writes results first, and removes their originals at the
end, job by job. So if an original is gone, its results are in the job; otherwise a later run refines it
again, recognizes existing results by their identity, and writes equal results only once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

import PIL.Image
from pydantic_core import from_json, to_json

from prefect_cvat.annotations.content_digest import content_digest
from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.auto_annotation.interface import InteractionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import BatchDetections, ChunkBatch, Frame
from prefect_cvat.geometry.clip_at_image_edge import Clipping
from prefect_cvat.inference.shape_refiner import ShapeRefiner
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.media.spooled_chunks import BatchChunks
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.runs.original_shapes import Copies, OriginalShapes

__all__ = ["PlannedRefineRun", "RefineRun"]

PACK = 200
"""Approximate number of results in a request; a mask takes several thousand bytes."""

SOURCES = frozenset({"auto", "semi-auto"})
"""The sources of results."""

Json = dict[str, Any]


class RefineRun(Run):
    """A run of an interaction function on shapes of a task. Tracks and shapes of other types are unchanged.

    The function is called once for the copies of a shape in overlapping jobs; each job gets the results.

    Raises:
        BadFunctionError: It is not an interaction function.
        ValueError: The options ask to replace other annotations.
    """

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: InteractionFunction[Any],
        options: Options,
        refining: RefineOptions | None = None,
        *,
        function_name: str | None = None,
    ) -> None:
        if options.existing is not Existing.KEEP:
            raise ValueError(
                f"refining removes originals only; {argument('existing', options.existing)} is invalid"
            )
        self.refining = refining or RefineOptions()
        super().__init__(client, task_id, function, options, function_name=function_name)
        self.provenance.take_options(self.refining)

    def _use(self, function: InteractionFunction[Any]) -> None:
        self._refiner = ShapeRefiner(function, self.refining.to, tolerance=self.refining.tolerance)

    def _plan(self, workspace: Workspace) -> PlannedRefineRun:
        plan = self._read_plan()
        originals = OriginalShapes(plan, self.refining, SOURCES)
        originals.read(self.client)
        if not originals.jobs and not originals.duplicates:
            self.report.nothing_to_do = (
                f"task {plan.task.id} ({plan.task.name!r}) has no {self.refining.describe()}"
                f" on the {pluralize(len(plan.frames), 'frame')} of the run, so there is nothing to refine"
            )
        jobs = originals.jobs | originals.duplicates.keys()
        plan = replace(
            plan,
            frames=plan.frames.where(originals.has),
            jobs=tuple(job for job in plan.jobs if job.id in jobs),
        )
        return PlannedRefineRun(self.context, plan, workspace, self._refiner, self.refining, originals)


class PlannedRefineRun(PlannedRun["_Refinements"]):
    """The stages of a run that refines shapes.

    Args:
        context: The server, options and report.
        plan: The plan of the run.
        workspace: The folder and the lock.
        refiner: The function.
        refining: Which shapes to refine, and what they become.
        originals: The shapes to refine.
    """

    kind: ClassVar[str] = "refine"
    sources: ClassVar[frozenset[str]] = SOURCES
    waits_for_late_writes: ClassVar[bool] = True

    def __init__(
        self,
        context: RunContext,
        plan: Plan,
        workspace: Workspace,
        refiner: ShapeRefiner,
        refining: RefineOptions,
        originals: OriginalShapes,
    ) -> None:
        super().__init__(context, plan, workspace)
        self._refiner = refiner
        self._refining = refining
        self._originals = originals

    def validate_spec(self) -> None:
        """Validate the function against the shapes, and the new type against the labels of the task.

        Raises:
            BadFunctionError: The function does not fit the shapes, or the labels do not allow the new type.
        """
        kinds = self._originals.kinds
        self._refiner.check({"type": kind, "points": [0.0] * length} for kind, length in kinds)
        refused = [
            f"{label.name!r} (of type {label.type!r})"
            for label in self.plan.info.labels
            if label.id in self._originals.labels and label.type not in ("any", self._refining.to)
        ]
        if refused:
            raise BadFunctionError(
                f"task {self.context.task_id} takes no {self._refining.to} for label {', '.join(refused)};"
                " change the type of the label in CVAT, or refine other labels only"
            )

    def counts(self) -> Counter[str]:
        """Number of shapes to refine by label name; copies in several jobs count once."""
        return self._originals.counts()

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> _Refinements:
        """Assign to each job the results for its own shapes, and release the detections."""
        result = _Refinements()
        with self.context.working_on(batch), self.context.timing("remap"):
            for found in detections.taken():
                result.frames += 1
                result.clippings += found.clippings
                self._assign_to_jobs(from_json(found.shapes), result)
        result.close()
        return result

    def upload_batch(self, batch: Batch, annotations: _Refinements, _after: object = None) -> int:
        """Write the results of a batch, and note what they replace; return the number of frames."""
        with self.context.working_on(batch), self.context.timing("upload"):
            for number, (job_id, part) in enumerate(annotations.parts):
                bodies, originals = from_json(part)
                self.uploads.write(job_id, (batch.index, "refined", number), map(serialize, bodies))
                self.uploads.writers[job_id].replace(originals)
        return super().upload_batch(batch, annotations)

    def finish_upload(self) -> None:
        """Verify that each result is in its job once; then remove originals and duplicates."""
        for job_id, duplicates in self._originals.duplicates.items():
            self.uploads.writers[job_id].remove_duplicates(duplicates)
        super().finish_upload()

    def _run_function(
        self, _batch: Batch, frames: Sequence[Frame], chunks: ChunkBatch, source: BatchChunks
    ) -> list[_Refined]:
        with closing(open_frames(chunks, frames, source=source)) as opened:
            return [self._refine(frame, image) for frame, image in opened]

    def _refine(self, frame: Frame, image: PIL.Image.Image) -> _Refined:
        shapes = list(self._originals.on_frame(frame.number).values())
        clippings: Counter[Clipping] = Counter()
        found = self._refiner.refine(frame, image, [copies[0][1] for copies in shapes], clippings)
        refined = [(copies, bodies) for copies, (_, bodies) in zip(shapes, found, strict=True)]
        return _Refined(frame.number, to_json(refined), clippings)

    def _assign_to_jobs(self, found: Sequence[tuple[Copies, list[Json]]], result: _Refinements) -> None:
        by_job: dict[int, tuple[dict[bytes, Json], list[Json]]] = {}
        all_bodies: dict[bytes, Json] = {}
        for copies, bodies in found:
            if not bodies:
                result.not_refined += 1
                continue
            result.refined += 1
            by_digest = {content_digest(body, self._originals.defaults): body for body in bodies}
            all_bodies.update(by_digest)
            for job_id, original in copies:
                of_job, originals = by_job.setdefault(job_id, ({}, []))
                of_job.update(by_digest)
                originals.append(original)
        result.labels.update(self._originals.names[body["label_id"]] for body in all_bodies.values())
        for job_id, (of_job, originals) in by_job.items():
            result.add(job_id, list(of_job.values()), [] if self._refining.keep_originals else originals)

    def _count(self, annotations: _Refinements) -> None:
        super()._count(annotations)
        with self.context.updating_report() as report:
            report.refined += annotations.refined
            report.not_refined += annotations.not_refined


class _Refined:
    """The results for the shapes on a frame, as JSON: each shape as it is in the jobs, with its results.

    Attributes:
        frame: The number of the frame.
        shapes: The JSON.
        clippings: Number of results that were clipped, outside the image, or empty.
    """

    __slots__ = ("clippings", "frame", "shapes")

    def __init__(self, frame: int, shapes: bytes, clippings: Counter[Clipping]) -> None:
        self.frame = frame
        self.shapes = shapes
        self.clippings = clippings


class _Refinements(Annotations):
    """The results to write for a batch, job by job.

    Attributes:
        refined: Number of shapes with results.
        not_refined: Number of shapes without results.
        parts: Job ids, each with results and their originals as JSON.
    """

    __slots__ = ("_open", "not_refined", "parts", "refined")

    def __init__(self) -> None:
        super().__init__()
        self.refined = 0
        self.not_refined = 0
        self.parts: list[tuple[int, bytes]] = []
        self._open: dict[int, tuple[list[Json], list[Json]]] = {}

    def add(self, job_id: int, bodies: list[Json], originals: list[Json]) -> None:
        """Add results for a job, and the originals that they replace."""
        part = self._open.setdefault(job_id, ([], []))
        part[0].extend(bodies)
        part[1].extend(originals)
        if len(part[0]) >= PACK:
            self.parts.append((job_id, to_json(self._open.pop(job_id))))

    def close(self) -> None:
        """Convert everything added to JSON."""
        self.parts += [(job_id, to_json(part)) for job_id, part in self._open.items()]
        self._open = {}

    def empty(self) -> None:
        """Release the written results; keep the counts."""
        super().empty()
        self.parts = []
