"""Learns from what people have corrected in a task."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from prefect_cvat.corrections import corrections_of_task
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.exceptions import NothingToLearnError
from prefect_cvat.export.task import DatasetFormat, export_task
from prefect_cvat.files.output_file import write_text
from prefect_cvat.learning.learn_report import LearnReport
from prefect_cvat.learning.model_card import CARD, render_card
from prefect_cvat.learning.task_evidence import read_evidence
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.run_options import Options
from prefect_cvat.records.record_reader import read_run
from prefect_cvat.review.conclusions import conclude, latest_version
from prefect_cvat.review.learned import Learned, LearnedFunction, TaskEvidence, changing_learned, read_learned
from prefect_cvat.runs.execution.progress_bar import Progress

__all__ = ["learn_task"]


def learn_task(
    client: AnyClient,
    task_id: int,
    *,
    looked_at: Collection[int] = (),
    folder: Path | str | None = None,
    format: DatasetFormat | str = DatasetFormat.COCO,
    images: bool = True,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> LearnReport:
    r"""Learn from what people have corrected in a task, for later runs of the same functions in its project.

    What is learned: how probable it is that a shape of some label, score and size is right; how many objects
    are missed on a frame; a threshold for each label; and labels that people mostly change to another one.
    It is kept on this machine (`PREFECT_CVAT_LEARNED_DIR`), and `annotate_task(..., learned=True)` uses it.
    Learning from a task again replaces what was learned from it before. Nothing is written to the server.

    Example:
        ```python
        from prefect_cvat import Client
        from prefect_cvat.learning import learn_task

        with Client("https://cvat.example.com", access_token="...") as client:
            report = learn_task(client, 123, looked_at=[0])
            print("\n".join(report.lines()))
        ```

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task.
        looked_at: Frames that somebody has looked at and found right, besides those with corrections and
            those of completed jobs.
        folder: A folder for the corrected frames as a data set, with a card (`MODEL_CARD.md`) that says where
            the annotations come from; it does not exist or is empty. None exports nothing.
        format: The format of the data set: `coco` or `yolo` (extra `export`).
        images: Whether to export the images, too.
        dry_run: Keep nothing, and export nothing.
        progress: Receives the progress of the export.

    Returns:
        What was learned.

    Raises:
        NothingToLearnError: Nobody has looked at a frame yet.
        NothingToExportError: The corrected frames have no annotations. Nothing is kept.
        RunNotFoundError: No run on the task is recorded on this machine.
        StorageError: A record cannot be read, or what was learned or exported cannot be written.
        PrefectCvatError: A request to the server failed.
        ValueError: The task does not have a frame of `looked_at`, or the folder is not empty.
    """
    client = own_client(client)
    task = client.task(task_id)
    done = corrections_of_task(client, task_id, looked_at=looked_at)
    if not done.frames:
        raise NothingToLearnError(
            f"nobody has looked at any of the {pluralize(done.frames_processed, 'frame')} that runs have"
            f" annotated in task {task_id}: correct something, set the state of a job to completed, or name"
            f" frames that are right with {argument('looked_at')}"
        )
    headers = [read_run(run.run).header for run in done.runs]
    evidence, counts = read_evidence(done, headers)
    learned = read_learned(client.url, task.project_id, task_id)
    report = LearnReport(
        task_id=task_id,
        task_name=task.name,
        url=done.url,
        place=learned.place,
        frames=len(done.frames),
        frames_processed=done.frames_processed,
        corrections=dict(counts.kinds),
        without_score=counts.without_score,
        of_no_run=counts.of_no_run,
        functions=_update(learned, task_id, evidence),
        unknown=done.unknown,
        dry_run=dry_run,
    )
    if dry_run:
        return report
    if folder is not None:
        frames = NumberRanges.of(done.frames.numbers)
        options = Options(frames=frames)
        report.exported = export_task(
            client, task_id, folder=folder, format=format, images=images, options=options, progress=progress
        )
        write_text(report.exported.folder / CARD, render_card(report, headers, frames))
    with changing_learned(client.url, task.project_id, task_id) as kept:  # after what may fail
        report.functions = _update(kept, task_id, evidence)
    return report


def _update(
    learned: Learned, task_id: int, evidence: dict[str, list[TaskEvidence]]
) -> dict[str, LearnedFunction]:
    """Replace the evidence of a task; return what follows for the functions of the task."""
    for of_tasks in learned.evidence.values():
        of_tasks.pop(task_id, None)  # also that of a function whose runs were undone since
    for name, of_task in evidence.items():
        learned.evidence.setdefault(name, {})[task_id] = of_task
    learned.functions = {
        name: conclude(tasks, latest_version(tasks)) for name, tasks in learned.evidence.items() if tasks
    }
    learned.updated = datetime.now(UTC)
    return {name: learned.functions[name] for name in evidence}
