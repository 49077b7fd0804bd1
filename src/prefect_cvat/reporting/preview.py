"""Looking before writing: what a function finds on a few images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import PIL.Image
import PIL.ImageOps

from prefect_cvat.annotations.label_remapping import LabelRemapper
from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import ChunkBatch, Frame
from prefect_cvat.inference.detector import Detector
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.media.image_decoding import decode_pixels, open_image
from prefect_cvat.models import Label
from prefect_cvat.options.selection import Selection
from prefect_cvat.planning.label_mapping import build_mapping
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.reporting.frame_svg import AnnotatedFrame
from prefect_cvat.reporting.html_report import render_report
from prefect_cvat.runs.report import RunReport

__all__ = ["open_image_files", "open_task_frames", "preview"]

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
    labels = _own_labels(detector.labels)
    mapping = build_mapping(detector.labels, labels, conv_mask_to_poly=detector.conv_mask_to_poly)
    detector.fit_to(mapping)
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
        frame_errors=found.errors,
    )
    report.count_clippings(found.clippings)
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


def open_task_frames(
    client: Client, task_id: int, selection: Selection, folder: Path, most: int | None = None
) -> list[OpenedFrame]:
    """Fetch frames of a task into a folder and open them.

    Args:
        client: A client that is logged in.
        task_id: The task.
        selection: Which of its frames.
        folder: Where the chunks go.
        most: How many of these frames, the first ones; None for all.

    Raises:
        MediaError: A frame is broken.
        ValueError: The task has no such frame.
    """
    plan = make_plan(read_task(client, task_id, selection), selection)
    opened: list[OpenedFrame] = []
    for number, in_chunk in plan.chunks():
        frames = in_chunk if most is None else in_chunk[: most - len(opened)]
        if not frames:
            break
        box = ChunkBatch([fetch_chunk(client, plan, number, folder)])
        with closing(open_frames(box, frames)) as images:
            for frame, image in images:
                decode_pixels(image, frame)
                opened.append((frame, image))
    return opened


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
