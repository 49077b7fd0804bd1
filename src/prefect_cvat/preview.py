"""Looking before writing: what a function finds on a few images, and what a run would do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import PIL.Image
import PIL.ImageOps

from prefect_cvat.annotate_run import AnnotateRun
from prefect_cvat.batches import BatchSize
from prefect_cvat.chunks import fetch_chunk
from prefect_cvat.client import Client, Quality
from prefect_cvat.counted import counted
from prefect_cvat.detection import Detector
from prefect_cvat.frame_svg import AnnotatedFrame
from prefect_cvat.html_report import render_report
from prefect_cvat.image_files import decode_pixels, open_image
from prefect_cvat.mapping import LabelMapping, build_mapping
from prefect_cvat.media import Box, Frame, open_frames
from prefect_cvat.models import Label
from prefect_cvat.plan import Plan, Selection, make_plan, read_task
from prefect_cvat.remap import LabelRemapper
from prefect_cvat.report import RunReport
from prefect_cvat.zip_chunk import decode

__all__ = ["open_image_files", "open_task_frames", "plan_lines", "preview", "trial_lines"]

OpenedFrame = tuple[Frame, PIL.Image.Image]


def preview(detector: Detector, frames: Sequence[OpenedFrame], *, title: str) -> tuple[str, RunReport]:
    """Run a function on images and draw what it finds, in its own labels.

    Args:
        detector: The function and its settings.
        frames: The images.
        title: What the page is called.

    Returns:
        The page, as HTML that needs no other file, and a report.
    """
    labels = _own_labels(detector.function.spec.labels)
    mapping = build_mapping(
        detector.function.spec.labels, labels, conv_mask_to_poly=detector.conv_mask_to_poly
    )
    least = detector.conf_threshold or 0.0
    remapper = LabelRemapper(mapping, thresholds=dict.fromkeys(mapping.names, least))
    started = perf_counter()
    found = remapper.remap(detector.detect(frames), {frame.number: frame for frame, _ in frames})
    report = RunReport(
        task_id=0,
        task_name=title,
        url="",
        function=type(detector.function).__name__,
        started=datetime.now(UTC),
        seconds=perf_counter() - started,
        frames=found.frames,
        labels=dict(found.labels),
        clipped=found.clipped,
        outside=found.outside,
        failed_frames=found.errors,
    )
    drawn = [
        AnnotatedFrame(
            frame,
            image,
            [tag for tag in found.tags if tag["frame"] == frame.number],
            [shape for shape in found.shapes if shape["frame"] == frame.number],
        )
        for frame, image in frames
    ]
    names = {owner.id: owner.name for label in labels for owner in (label, *label.sublabels)}
    return render_report(report, drawn, names, title=title), report


def open_image_files(paths: Sequence[Path]) -> list[OpenedFrame]:
    """Open image files, turned upright as CVAT does it.

    Raises:
        MediaError: A file is missing or is not an image; it is named.
    """
    frames = []
    for number, path in enumerate(paths):
        name = repr(str(path))
        with open_image(path, name) as image:
            decode_pixels(image, name)
            upright = PIL.ImageOps.exif_transpose(image)
            upright.load()
        frames.append((Frame(number, path.name, upright.width, upright.height), upright))
    return frames


def open_task_frames(client: Client, task_id: int, selection: Selection, folder: Path) -> list[OpenedFrame]:
    """Fetch frames of a task into a folder and open them.

    Raises:
        MediaError: A frame is broken.
        ValueError: The task has no such frame.
    """
    plan = make_plan(read_task(client, task_id, selection), selection)
    opened = []
    for number, frames in plan.chunks():
        with closing(open_frames(_fetch(client, plan, number, folder), frames)) as images:
            for frame, image in images:
                decode(image, frame)
                opened.append((frame, image))
    return opened


def plan_lines(plan: Plan, mapping: LabelMapping) -> list[str]:
    """What a run would do, as lines for a terminal."""
    lines = [
        f"task {plan.task.id} ({plan.task.name!r}): {counted(plan.size, 'frame')},"
        f" {len(plan.frames)} to annotate",
        f"{counted(plan.count_chunks(), 'chunk')} of up to {counted(plan.chunk_size, 'frame')} to fetch",
        f"{counted(len(plan.jobs), 'job')} to write: {', '.join(str(job.id) for job in plan.jobs) or 'none'}",
    ]
    for why, numbers in plan.left_out.items():
        lines.append(f"left out, {why.value}: {counted(len(numbers), 'frame')} ({_ranges(numbers)})")
    for label_id, target in mapping.targets.items():
        name = mapping.names[label_id]
        lines.append(
            f"label {name!r} is dropped"
            if target is None
            else f"label {name!r} -> {target.name!r} ({target.type})"
        )
    return lines


def trial_lines(run: AnnotateRun, plan: Plan, folder: Path) -> list[str]:
    """Fetch one chunk, run the function on it, and estimate from that how long a run would take."""
    if not plan.frames:
        return ["nothing to annotate"]
    number, frames = next(plan.chunks())
    started = perf_counter()
    box = _fetch(run.client, plan, number, folder, run.options.quality)
    fetched = perf_counter()
    with closing(open_frames(box, frames)) as opened:
        found = list(run.detector.detect(opened))
    detected = perf_counter()
    seconds = max(fetched - started, detected - fetched) * len(plan.frames) / len(frames)
    size = BatchSize(run.options.batch_size)
    size.learn(detected - fetched, len(frames))
    batches = -(-len(plan.frames) // max(size.most(len(plan.frames)), plan.chunk_size))
    count = sum(len(item.shapes) + len(item.tags) for item in found)
    return [
        f"tried on {counted(len(frames), 'frame')}: {counted(count, 'annotation')},"
        f" {fetched - started:.2f} s to fetch, {detected - fetched:.2f} s to detect",
        f"estimated time: {_duration(seconds)}, in about {counted(batches, 'batch', 'batches')};"
        " nothing was uploaded",
    ]


def _fetch(client: Client, plan: Plan, number: int, folder: Path, quality: Quality = "original") -> Box:
    return Box([fetch_chunk(client, plan, number, folder, quality)])


def _own_labels(spec_labels: Sequence[Any]) -> list[Label]:
    """The labels of a function as if a task had them; sublabels get ids that differ from the labels'."""
    labels = []
    next_id = 1 + max((label.id for label in spec_labels), default=0)
    for label in spec_labels:
        sublabels = []
        for sublabel in getattr(label, "sublabels", None) or ():
            sublabels.append({"id": next_id, "name": sublabel.name, "attributes": _attributes(sublabel)})
            next_id += 1
        labels.append(
            Label.model_validate(
                {
                    "id": label.id,
                    "name": label.name,
                    "type": "any",
                    "attributes": _attributes(label),
                    "sublabels": sublabels,
                }
            )
        )
    return labels


def _attributes(owner: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": attribute.id,
            "name": attribute.name,
            "input_type": getattr(attribute.input_type, "value", attribute.input_type),
            "values": list(attribute.values),
        }
        for attribute in getattr(owner, "attributes", None) or ()
    ]


def _ranges(numbers: Sequence[int], most: int = 8) -> str:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    return ", ".join(shown) + (", ..." if len(ranges) > most else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
