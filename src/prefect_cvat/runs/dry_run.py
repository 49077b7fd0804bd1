"""Dry run: plans a run and tries its function on one chunk, without writing anything."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import BatchDetections, ChunkBatch
from prefect_cvat.geometry.clip_at_image_edge import Clipping
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.planning.batch_size import BatchSize
from prefect_cvat.planning.plan import PART_FRAMES, Batch, Plan
from prefect_cvat.runs.annotate_run import PlannedAnnotateRun
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.execution.run_context import Workspace
from prefect_cvat.runs.refine_run import PlannedRefineRun, RefineRun
from prefect_cvat.runs.reports.dry_run_report import AnnotateDryRun, RefineDryRun, TrackShapesDryRun, Trial
from prefect_cvat.runs.track_detections_run import PlannedTrackDetectionsRun
from prefect_cvat.runs.track_shapes_run import PlannedTrackShapesRun

__all__ = ["dry_run"]


def dry_run(run: Run) -> AnnotateDryRun | RefineDryRun | TrackShapesDryRun:
    """Find out what a run would do, without writing; try a detection function on one chunk.

    Raises:
        BadFunctionError: The function does not fit the task.
        PrefectCvatError: The task cannot be read.
        ValueError: The options select frames or jobs that the task does not have.
    """
    with spool_folder() as folder:
        planned = run.plan_task(Workspace(folder))
        return _dry_run(run, planned, folder)


def _dry_run(
    run: Run, planned: PlannedRun[Any], folder: Path
) -> AnnotateDryRun | RefineDryRun | TrackShapesDryRun:
    plan = planned.plan
    spec = planned.validate_spec()
    common = _describe(run, plan)
    if isinstance(run, RefineRun) and isinstance(planned, PlannedRefineRun):
        refining = run.refining
        return RefineDryRun(
            **common, shapes=dict(planned.counts()), to=refining.to, keep_originals=refining.keep_originals
        )
    if isinstance(planned, PlannedTrackShapesRun):
        return TrackShapesDryRun(
            **common,
            shapes=dict(planned.counts()),
            shapes_left_out=run.report.source_shapes_left_out,
            first_frame=plan.frames[0].number if plan.frames else None,
            last_frame=plan.frames[-1].number if plan.frames else None,
        )
    assert isinstance(planned, PlannedAnnotateRun)
    found = AnnotateDryRun(
        **common,
        labels=spec.by_name(),
        learned=run.report.learned,
        skip_existing_iou=run.options.skip_existing_iou,
        skip_existing_source=str(run.options.skip_existing_source),
        left_out_ranges={
            why.value: NumberRanges.of(frames).describe() for why, frames in plan.excluded.items()
        },
    )
    if plan.frames:
        found.trial, found.seconds, found.batches = _try(planned, folder)
    return found


def _describe(run: Run, plan: Plan) -> dict[str, Any]:
    return {
        "task_id": run.task_id,
        "task_name": plan.task.name,
        "url": run.report.url,
        "function": run.report.function,
        "size": plan.size,
        "frames": len(plan.frames),
        "chunks": plan.count_chunks(),
        "chunk_size": plan.chunk_size,
        "jobs": [job.id for job in plan.jobs],
        "left_out": {why.value: len(frames) for why, frames in plan.excluded.items()},
        "nothing_to_do": run.report.nothing_to_do,
    }


def _try(run: PlannedAnnotateRun, folder: Path) -> tuple[Trial, float, int]:
    """Download a chunk and run the function on it, or on a part of it if it is large.

    Returns:
        The trial, and the estimated seconds and batches of the whole run.
    """
    plan = run.plan
    number, frames = next(plan.parts())
    batch = Batch(0, [number], frames)
    started = perf_counter()
    chunks = ChunkBatch([fetch_chunk(run.client, plan, number, folder, run.options.quality)])
    run.read_existing(batch)
    fetched = perf_counter()
    with closing(open_frames(chunks, frames)) as opened:
        detections = list(run.detector.detect(opened))
    detected = perf_counter()
    annotations = run.remap_labels(batch, BatchDetections(detections))
    trial = Trial(
        frames=annotations.frames,
        labels=dict(annotations.labels),
        unmatched=dict(annotations.unmatched),
        below_threshold=annotations.below_threshold,
        outside=annotations.clippings[Clipping.OUTSIDE],
        empty=annotations.clippings[Clipping.EMPTY],
        overlapping_existing=annotations.overlapping_existing,
        frame_errors=annotations.errors,
        are_put_to_tracks=isinstance(run, PlannedTrackDetectionsRun),
        fetch_seconds=fetched - started,
        detect_seconds=detected - fetched,
    )
    detect_seconds = trial.detect_seconds * len(plan.frames) / len(frames)
    seconds = max(trial.fetch_seconds * plan.count_chunks(), detect_seconds)
    size = BatchSize(run.options.frames_per_batch)
    size.learn(trial.detect_seconds, len(frames))
    chunk_frames = min(plan.chunk_size, PART_FRAMES)
    batches = -(-len(plan.frames) // max(size.max_frames(len(plan.frames)), chunk_frames))
    return trial, seconds, batches
