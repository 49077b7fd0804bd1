"""Makes the writers of a run: one for each of its jobs."""

from __future__ import annotations

from collections.abc import Collection

from prefect_cvat.annotations.content_digest import attribute_defaults
from prefect_cvat.files.spooled_file import MemoryShare
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.planning.plan import Plan
from prefect_cvat.records.record_writer import RunRecord
from prefect_cvat.runs.execution.job_uploads import make_folder
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.settings import current_settings
from prefect_cvat.upload.job_writer import JobWriter

__all__ = ["make_writers"]


def make_writers(
    context: RunContext,
    plan: Plan,
    workspace: Workspace,
    record: RunRecord,
    *,
    sources: Collection[str],
    recognizes_refined: bool,
) -> dict[int, JobWriter]:
    """Make a writer for each job of a plan, by the id of the job.

    Args:
        context: Server and options.
        plan: The plan.
        workspace: Folder and lock.
        record: The record of the run.
        sources: The sources of the annotations that the run writes.
        recognizes_refined: Whether a mask or track made from a detection by a model counts as it.
    """
    folder = make_folder(workspace.folder, "jobs")
    defaults = attribute_defaults(plan.info.labels)
    existing = context.options.existing
    settings, share = current_settings(), MemoryShare()
    return {
        job.id: JobWriter(
            context.client,
            job,
            folder,
            existing=existing,
            sources=sources,
            defaults=defaults,
            record=record.of_job(job.id),
            lock=workspace.lock,
            stopped=context.stopped,
            recognizes_refined=recognizes_refined and existing is Existing.KEEP,
            deleted_frames=plan.info.meta.deleted_frames,
            settings=settings,
            share=share,
        )
        for job in plan.jobs
    }
