"""The page to review the frames of a run: its images are downloaded, its shapes are those on the server."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect_cvat.cvat.client import Client
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import Quality
from prefect_cvat.media.task_frames import read_task_frames
from prefect_cvat.planning.plan import Plan
from prefect_cvat.rendering.review_page.content import PageFrame, PageImage, PageRun, count_figure
from prefect_cvat.rendering.review_page.page_images import PageImages
from prefect_cvat.rendering.review_page.shapes_by_frame import ShapesByFrame
from prefect_cvat.rendering.review_page.writer import list_section, render_review_page, write_review_page
from prefect_cvat.rendering.sample_frames import each_on_frames, label_names
from prefect_cvat.review.frame_ranking import FrameReview
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["fetch_page_images", "page_of_run", "write_run_page"]


def write_run_page(
    client: Client,
    plan: Plan,
    report: RunReport,
    ranked: Sequence[FrameReview],
    file: Path,
    *,
    max_frames: int,
    quality: Quality = "original",
) -> None:
    """Write the page of a run, see `page_of_run`.

    Raises:
        MediaError: An image cannot be decoded.
        StorageError: The page or an image cannot be written.
        PrefectCvatError: A request to the server failed.
    """
    run = page_of_run(client, plan, report, ranked, file, max_frames=max_frames, quality=quality)
    title = f"Review of task {report.task_id}, {report.task_name}"
    write_review_page(file, render_review_page([run], title=title))


def page_of_run(
    client: Client,
    plan: Plan,
    report: RunReport,
    ranked: Sequence[FrameReview],
    file: Path | None,
    *,
    max_frames: int,
    quality: Quality = "original",
    heading: str = "",
) -> PageRun:
    """Read what the page of a run shows: the frames with their annotations as CVAT has them now.

    Args:
        client: The server.
        plan: The plan of the run. Only its frames are shown.
        report: The report of the run.
        ranked: The frames to review first, in this order. Others follow, spread over the task.
        file: The file of the page; None if all images must be part of the page.
        max_frames: Maximum number of frames.
        quality: `original` or `compressed` images.
        heading: The heading; by default the task.
    """
    reviews = {review.frame: review for review in ranked[:max_frames]}
    numbers = [*reviews, *_spread(plan.frames.numbers, reviews, max_frames - len(reviews))]
    shapes, tags = _annotations_of(client, plan, sorted(numbers))
    images = fetch_page_images(client, plan, numbers, file, quality)
    by_number = plan.frames.by_number
    frames = []
    for number in numbers:
        review = reviews.get(number)
        job = next(iter(plan.jobs_between(number, number)), None)
        job_page = f"{client.url}/tasks/{report.task_id}" + (
            "" if job is None else f"/jobs/{job.id}?frame={number}"
        )
        frames.append(
            PageFrame(
                by_number[number],
                images[number],
                shapes.of(number),
                shapes.count(number),
                tags=tags.get(number, ()),
                url=job_page if review is None else review.url,
                corrections=None if review is None else review.expected_corrections,
                doubts=() if review is None else review.doubts,
                reasons=() if review is None else review.reasons,
            )
        )
    return PageRun(
        heading=heading or f"Task {report.task_id}, {report.task_name}",
        key=f"prefect-cvat {report.url} {report.run}",
        frames=frames,
        url=report.url,
        subtitle=f"{report.function}, {report.started:%Y-%m-%d %H:%M} UTC",
        figures=[
            count_figure(report.frames, "frame"),
            count_figure(sum(report.labels.values()), "annotation"),
            *([count_figure(sum(report.tracks.values()), "track")] if report.tracks else []),
            ("seconds", f"{report.seconds:,.1f}"),
        ],
        notes=[
            *_shown(len(numbers), len(plan.frames)),
            *shapes.notes(),
            *([f"nothing to do: {report.nothing_to_do}"] if report.nothing_to_do else []),
            *(f"not complete: {end}" for end in report.open_ends),
        ],
        sections=[list_section("Report", report.lines())],
    )


def fetch_page_images(
    client: Client, plan: Plan, numbers: Iterable[int], file: Path | None, quality: Quality
) -> Mapping[int, PageImage]:
    """Download the images of frames, and make them as small as the page needs them.

    Args:
        client: The server.
        plan: The task.
        numbers: The numbers of the frames.
        file: The file of the page; None if all images must be part of the page.
        quality: `original` or `compressed` images.

    Returns:
        The images by the number of the frame.

    Raises:
        MediaError: An image cannot be decoded.
        StorageError: The folder beside the page cannot be written.
        PrefectCvatError: A request to the server failed.
    """
    chosen = replace(plan, frames=plan.info.frames_of(sorted(numbers)))
    making = PageImages(len(chosen.frames), file)
    with spool_folder() as folder:
        made = making.make(read_task_frames(client, chosen, folder, quality=quality))
        return {frame.number: image for frame, image in made}


def _annotations_of(
    client: Client, plan: Plan, numbers: Sequence[int]
) -> tuple[ShapesByFrame, dict[int, list[str]]]:
    """The shapes, and the names of the tags, on frames; of a frame of two jobs, those of the first job."""
    names = label_names(plan.info.labels)
    by_number = plan.frames.by_number
    shapes = ShapesByFrame()
    tags: dict[int, list[str]] = {}
    done: set[int] = set()
    for job in plan.jobs:
        within = numbers[bisect_left(numbers, job.start_frame) : bisect_left(numbers, job.stop_frame + 1)]
        new = [number for number in within if number not in done]
        if not new:
            continue
        done.update(new)
        for number, kind, annotation in each_on_frames(client.iter_job_annotations(job.id), new, names):
            label = names[annotation["label_id"]]
            if kind == "tags":
                tags.setdefault(number, []).append(label)
                continue
            is_manual = annotation.get("source") not in ("auto", "semi-auto")
            shapes.add(
                by_number[number],
                _without_score(annotation) if is_manual else annotation,
                label,
                kind="manual" if is_manual else "machine",
                note=f"#{annotation['track']}" if "track" in annotation else "",
            )
    return shapes, tags


def _without_score(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    """A manual annotation as it was drawn: CVAT gives it a score of 1."""
    return {key: value for key, value in annotation.items() if key != "score"}


def _spread(numbers: Sequence[int], without: Mapping[int, object], count: int) -> list[int]:
    """As many numbers as given, at equal distances."""
    others = [number for number in numbers if number not in without]
    if count >= len(others):
        return others
    return [others[place * len(others) // count] for place in range(count)]


def _shown(shown: int, all_frames: int) -> list[str]:
    return [f"{shown:,} of {all_frames:,} frames are on this page"] if shown < all_frames else []
