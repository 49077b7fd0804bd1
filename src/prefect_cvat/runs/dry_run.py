"""Finding out what a run would do, without writing anything."""

from __future__ import annotations

from contextlib import closing
from time import perf_counter
from typing import Any

from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import ChunkBatch
from prefect_cvat.geometry.clipping import Clipping
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.planning.batch_size import BatchSize
from prefect_cvat.planning.plan import PART_FRAMES, Batch, Plan
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.dry_run_report import AnnotateDryRun, FollowDryRun, RefineDryRun, Trial
from prefect_cvat.runs.follow_run import FollowRun
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.runs.run import BatchDetections, Run
from prefect_cvat.runs.track_run import TrackRun

__all__ = ["dry_run"]


def dry_run(run: Run) -> AnnotateDryRun | RefineDryRun | FollowDryRun:
    """Find out what a run would do; a detection function is tried on one chunk. Nothing is written.

    Raises:
        BadFunctionError: The function does not fit the task.
        PrefectCvatError: The task cannot be read.
        ValueError: The task lacks what the run is to look at.
    """
    plan = run.plan_task()
    spec = run.validate_spec()
    common = _describe(run, plan)
    if isinstance(run, RefineRun):
        refining = run.refining
        return RefineDryRun(
            **common, shapes=dict(run.counts()), to=refining.to, keep_originals=refining.keep_originals
        )
    if isinstance(run, FollowRun):
        return FollowDryRun(
            **common,
            shapes=dict(run.counts()),
            shapes_left_out=run.report.seeds_left_out,
            first_frame=plan.frames[0].number if plan.frames else None,
            last_frame=plan.frames[-1].number if plan.frames else None,
        )
    assert isinstance(run, AnnotateRun)
    found = AnnotateDryRun(
        **common,
        labels=spec.by_name(),
        skip_existing_iou=run.options.skip_existing_iou,
        skip_existing_source=str(run.options.skip_existing_source),
        left_out_ranges={
            why.value: NumberRanges.of(frames).describe() for why, frames in plan.excluded.items()
        },
    )
    if plan.frames:
        _try(run, plan, found)
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


def _try(run: AnnotateRun, plan: Plan, found: AnnotateDryRun) -> None:
    """Fetch a chunk, run the function on it or a part of it, and estimate how long a run would take."""
    number, frames = next(plan.parts())
    batch = Batch(0, [number], frames)
    with spool_folder() as folder:
        started = perf_counter()
        box = ChunkBatch([fetch_chunk(run.client, plan, number, folder, run.options.quality)])
        fetched = perf_counter()
        with closing(open_frames(box, frames)) as opened:
            detections = list(run.detector.detect(opened))
        detected = perf_counter()
    run.read_existing(batch)
    annotations = run.remap_labels(batch, BatchDetections(detections))
    found.trial = Trial(
        frames=annotations.frames,
        labels=dict(annotations.labels),
        unmatched=dict(annotations.unmatched),
        below_threshold=annotations.below_threshold,
        outside=annotations.clippings[Clipping.OUTSIDE],
        empty=annotations.clippings[Clipping.EMPTY],
        overlapping_existing=annotations.overlapping_existing,
        failed_frames=annotations.errors,
        are_put_to_tracks=isinstance(run, TrackRun),
        fetch_seconds=fetched - started,
        detect_seconds=detected - fetched,
    )
    detect_seconds = (detected - fetched) * len(plan.frames) / len(frames)
    found.seconds = max((fetched - started) * found.chunks, detect_seconds)
    size = BatchSize(run.options.batch_size)
    size.learn(detected - fetched, len(frames))
    found.batches = -(
        -len(plan.frames) // max(size.most(len(plan.frames)), min(plan.chunk_size, PART_FRAMES))
    )
