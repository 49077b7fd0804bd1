"""A run that turns the rectangles and points of a task into masks or polygons, with an interaction function.

What this must be able to survive is being killed between any two requests. Results are written first, and
recognized by what they say when the run is done again; what they take the place of goes at the very end, job
by job. What is gone by then has its results in the job, and what is left is looked at again. For that to
end alike whenever it was interrupted, equal results stand in a job once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

import PIL.Image
from pydantic_core import from_json, to_json

from prefect_cvat.annotations.duplicates import attribute_defaults, identity
from prefect_cvat.annotations.label_remapping import Annotations
from prefect_cvat.auto_annotation.interface import InteractionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.frames import ChunkBatch, Frame
from prefect_cvat.geometry.clipping import Clipping
from prefect_cvat.inference.shape_refiner import ShapeRefiner
from prefect_cvat.media.frame_reader import OpenChunk, open_frames
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.options.existing import Existing
from prefect_cvat.options.refine_options import PROMPTING_TYPES, RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.records.annotation_index import StoredRecords
from prefect_cvat.runs.run import BatchDetections, Run

__all__ = ["RefineRun"]

PACK = 200
"""How many results, about, are written in one request; a mask takes some thousand bytes."""

Json = dict[str, Any]

Copies = list[tuple[int, Json]]
"""A shape as each job holds it: the job's id, and the server's JSON object."""


class RefineRun(Run):
    """A run of an interaction function on shapes of a task. Tracks, and shapes of other types, stay.

    Where jobs overlap, each of them holds a shape of its own; the function is asked once for those that say
    the same, and each job gets the results for what it held.

    Raises:
        BadFunctionError: It is not an interaction function.
        ValueError: The options speak of replacing anything else.
    """

    kind = "refine"
    sources: ClassVar[frozenset[str]] = frozenset({"auto", "semi-auto"})
    waits_for_late_writes: ClassVar[bool] = True

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
                f"refining replaces what it refines: {argument('existing', options.existing)} is too much"
            )
        super().__init__(client, task_id, function, options, function_name=function_name)
        self.refining = refining or RefineOptions()
        self.provenance.take_options(self.refining)
        self._refiner = ShapeRefiner(function, self.refining.to, tolerance=self.refining.tolerance)
        self._originals = LinesByFrame()
        self._doubled: dict[int, StoredRecords] = {}
        self._kinds: set[tuple[str, int]] = set()
        self._labels: set[int] = set()
        self._defaults: dict[int, dict[int, str]] = {}
        self._names: dict[int, str] = {}

    def plan_task(self) -> Plan:
        """Ask the server about the task and its shapes, and decide what to do.

        Raises:
            ValueError: The task lacks a label that is asked for.
        """
        plan = super().plan_task()
        self._defaults = attribute_defaults(plan.info.labels)
        self._names = {label.id: label.name for label in plan.info.labels}
        with self._timed("plan"):
            jobs = self._read_originals(plan)
        if not jobs and not self._doubled:
            self.report.nothing_to_do = (
                f"task {plan.task.id} ({plan.task.name!r}) has no {self.refining.describe()}"
                f" on the {pluralize(len(plan.frames), 'frame')} to look at, so there is nothing to refine"
            )
        plan = replace(
            plan,
            frames=plan.frames.where(self._originals.has),
            jobs=tuple(job for job in plan.jobs if job.id in jobs or job.id in self._doubled),
        )
        self._plan = plan
        return plan

    def validate_spec(self) -> None:
        """Hold the function against the shapes, and the new type against the labels of the task.

        Raises:
            BadFunctionError: They do not go together.
        """
        self._refiner.check({"type": kind, "points": [0.0] * length} for kind, length in self._kinds)
        refused = [
            f"{label.name!r} (of type {label.type!r})"
            for label in self.plan.info.labels
            if label.id in self._labels and label.type not in ("any", self.refining.to)
        ]
        if refused:
            raise BadFunctionError(
                f"task {self.task_id} takes no {self.refining.to} for label {', '.join(refused)};"
                " change the type of the label in CVAT, or refine other labels only"
            )

    def counts(self) -> Counter[str]:
        """How many shapes there are to refine, by label; one that two jobs share counts once."""
        return Counter(
            self._names[copies[0][1]["label_id"]]
            for frame in self._originals.frames()
            for copies in self._on_frame(frame).values()
        )

    def remap_labels(self, batch: Batch, detections: BatchDetections) -> Annotations:
        """Give each job what was found for its own shapes, and empty what held it."""
        result = _Refinements()
        with self._named(batch), self._timed("remap"):
            for found in detections.taken():
                result.frames += 1
                result.clippings += found.clippings
                self._give_to_jobs(from_json(found.shapes), result)
        result.close()
        return result

    def upload_batch(self, batch: Batch, annotations: Annotations, _after: object = None) -> int:
        """Write the results of a batch, and note what they take the place of; return the number of frames."""
        assert isinstance(annotations, _Refinements)
        with self._named(batch), self._timed("upload"):
            for number, (job_id, part) in enumerate(annotations.parts):
                bodies, originals = from_json(part)
                self._write(job_id, (batch.index, "refined", number), bodies)
                self._writers[job_id].replace(originals)
        return super().upload_batch(batch, annotations)

    def finish_upload(self) -> None:
        """See to it that all is there, once; then remove what was refined, and what is there twice."""
        for job_id, doubled in self._doubled.items():
            self._writers[job_id].make_single(doubled)
        super().finish_upload()

    def _look_at(self, frames: Sequence[Frame], box: ChunkBatch, open_chunk: OpenChunk) -> list[_Refined]:
        with closing(open_frames(box, frames, open_chunk=open_chunk)) as opened:
            return [self._refine(frame, image) for frame, image in opened]

    def _refine(self, frame: Frame, image: PIL.Image.Image) -> _Refined:
        shapes = list(self._on_frame(frame.number).values())
        clippings: Counter[Clipping] = Counter()
        found = self._refiner.refine(frame, image, [copies[0][1] for copies in shapes], clippings)
        refined = [(copies, bodies) for copies, (_, bodies) in zip(shapes, found, strict=True)]
        return _Refined(frame.number, to_json(refined), clippings)

    def _give_to_jobs(self, found: Sequence[tuple[Copies, list[Json]]], result: _Refinements) -> None:
        by_job: dict[int, tuple[dict[bytes, Json], list[Json]]] = {}
        all_bodies: dict[bytes, Json] = {}
        for copies, bodies in found:
            if not bodies:
                result.not_refined += 1
                continue
            result.refined += 1
            by_digest = {identity(body, self._defaults): body for body in bodies}
            all_bodies.update(by_digest)
            for job_id, original in copies:
                of_job, originals = by_job.setdefault(job_id, ({}, []))
                of_job.update(by_digest)
                originals.append(original)
        result.labels.update(self._names[body["label_id"]] for body in all_bodies.values())
        for job_id, (of_job, originals) in by_job.items():
            result.add(job_id, list(of_job.values()), [] if self.refining.keep_originals else originals)

    def _count(self, annotations: Annotations) -> None:
        super()._count(annotations)
        assert isinstance(annotations, _Refinements)
        with self._report_lock:
            self.report.refined += annotations.refined
            self.report.not_refined += annotations.not_refined

    def _read_originals(self, plan: Plan) -> set[int]:
        """Read what there is to refine, a job and a shape at a time; return the jobs that hold it.

        Results of other runs that a job holds more than once are noted: when what they were made of is gone,
        no run would look for them again.
        """
        is_chosen = self._filter(plan)
        originals = LinesByFrame()
        jobs: set[int] = set()
        for job in plan.jobs:
            results = bytearray()
            for kind, shape in self.client.iter_job_annotations(job.id):
                if kind != "shapes" or not is_chosen(shape):
                    continue
                if self._is_original(shape):
                    jobs.add(job.id)
                    self._kinds.add((shape["type"], len(shape["points"])))
                    self._labels.add(shape["label_id"])
                    originals.add(shape["frame"], to_json([job.id, shape]))
                elif shape["type"] == self.refining.to and shape.get("source") in self.sources:
                    results += StoredRecords.pack([(kind, shape["id"], identity(shape, self._defaults))])
            if doubled := StoredRecords(bytes(results)).doubled():
                self._doubled[job.id] = doubled
        self._originals = originals
        return jobs

    def _is_original(self, shape: Mapping[str, Any]) -> bool:
        options = self.refining
        types = PROMPTING_TYPES if options.shape_types is None else options.shape_types
        is_of_source = options.sources is None or (shape.get("source") or "manual") in options.sources
        return shape["type"] in types and is_of_source

    def _filter(self, plan: Plan) -> Callable[[Mapping[str, Any]], bool]:
        """What tells which shapes are on frames, and of labels, that the run is about."""
        options = self.refining
        names = set(self._names.values())
        for name in options.labels or ():
            if name not in names:
                raise ValueError(
                    f"task {plan.task.id} ({plan.task.name!r}) has no label {name!r}"
                    f"{did_you_mean(name, names)}"
                )
        labels = {i for i, name in self._names.items() if options.labels is None or name in options.labels}
        return lambda shape: plan.frames.has(shape["frame"]) and shape["label_id"] in labels

    def _on_frame(self, frame: int) -> dict[bytes, Copies]:
        """The shapes to refine on a frame, by what they say."""
        shapes: dict[bytes, Copies] = {}
        for line in self._originals.of(frame):
            job_id, shape = from_json(line)
            shapes.setdefault(identity(shape, self._defaults), []).append((job_id, shape))
        return shapes


class _Refined:
    """What was found on a frame, as JSON: each shape as the jobs hold it, with its results.

    Attributes:
        frame: The number of the frame.
        shapes: The JSON.
        clippings: How many results were cut at the edge of the image, outside or empty.
    """

    __slots__ = ("clippings", "frame", "shapes")

    def __init__(self, frame: int, shapes: bytes, clippings: Counter[Clipping]) -> None:
        self.frame = frame
        self.shapes = shapes
        self.clippings = clippings


class _Refinements(Annotations):
    """What is to be written for a batch, job by job.

    Attributes:
        refined: For how many shapes something was found.
        not_refined: For how many nothing was.
        parts: Ids of jobs, each with results and what they take the place of, as JSON.
    """

    __slots__ = ("_open", "not_refined", "parts", "refined")

    def __init__(self) -> None:
        super().__init__()
        self.refined = 0
        self.not_refined = 0
        self.parts: list[tuple[int, bytes]] = []
        self._open: dict[int, tuple[list[Json], list[Json]]] = {}

    def add(self, job_id: int, bodies: list[Json], originals: list[Json]) -> None:
        """Add results for a job, and what they take the place of."""
        part = self._open.setdefault(job_id, ([], []))
        part[0].extend(bodies)
        part[1].extend(originals)
        if len(part[0]) >= PACK:
            self.parts.append((job_id, to_json(self._open.pop(job_id))))

    def close(self) -> None:
        """Hold all that was added as JSON."""
        self.parts += [(job_id, to_json(part)) for job_id, part in self._open.items()]
        self._open = {}

    def empty(self) -> None:
        """Let go of what is written; the counts stay."""
        super().empty()
        self.parts = []
