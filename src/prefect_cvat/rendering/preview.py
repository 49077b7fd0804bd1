"""Runs a function on a few images and draws its detections, without a task to write to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from prefect_cvat.annotations.label_remapping import LabelRemapper
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector
from prefect_cvat.media.image_decoding import (
    MIN_BYTES_PER_PIXEL,
    check_memory,
    decode_pixels,
    open_image,
)
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Label
from prefect_cvat.planning.label_mapping import build_mapping
from prefect_cvat.rendering.frame_svg import AnnotatedFrame, shrink_image
from prefect_cvat.rendering.run_report_page import render_report
from prefect_cvat.runs.reports.run_report import RunReport

__all__ = ["open_image_files", "preview"]

OpenedFrame = tuple[Frame, PIL.Image.Image]


def preview(detector: Detector, opened: Iterable[OpenedFrame]) -> tuple[str, RunReport]:
    """Run a function on images and draw its detections, with the function's own labels.

    An image is in memory until the function has processed it; a small JPEG of it is drawn.

    Args:
        detector: The function with its settings.
        opened: The images: files (`open_image_files`) or frames of a task (`media.task_frames`).

    Returns:
        A self-contained HTML page, and the report that it shows.

    Raises:
        BadFunctionError: The function failed, or returned something invalid.
    """
    labels = _labels_of_function(detector.labels)
    mapping = build_mapping(detector.labels, labels, conv_mask_to_poly=detector.conv_mask_to_poly)
    detector.fit_to(mapping)
    threshold = detector.conf_threshold or 0.0
    remapper = LabelRemapper(mapping, thresholds=dict.fromkeys(mapping.names, threshold))
    frames: dict[int, Frame] = {}
    jpegs: dict[int, bytes] = {}

    def shrunk() -> Iterator[OpenedFrame]:
        for frame, image in opened:
            frames[frame.number] = frame
            jpegs[frame.number] = shrink_image(image, frame)
            yield frame, image
            del image  # otherwise it would stay in memory while the next one is opened

    started = perf_counter()
    found = remapper.remap(detector.detect(shrunk()), frames)
    title = f"Preview of {pluralize(len(frames), 'image')}"
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
            jpegs[number],
            [tag for tag in found.tags if tag["frame"] == number],
            [shape for shape in found.shapes if shape["frame"] == number],
        )
        for number, frame in frames.items()
    ]
    names = {owner.id: owner.name for label in labels for owner in (label, *label.sublabels)}
    return render_report(report, drawn, names, title=title), report


def open_image_files(paths: Mapping[int, Path]) -> Iterator[OpenedFrame]:
    """Open image files one after the other, rotated by their EXIF orientation as CVAT does.

    Args:
        paths: The files by number.

    Raises:
        MediaError: A file is missing or is not an image. The message names the file. All are checked before
            the first is decoded.
    """
    for path in paths.values():
        _open(path).close()
    return (_open_upright(number, path) for number, path in paths.items())


def _open_upright(number: int, path: Path) -> OpenedFrame:
    with _open(path) as image:
        decode_pixels(image, repr(str(path)))
        PIL.ImageOps.exif_transpose(image, in_place=True)
        return Frame(number, path.name, image.width, image.height), image


def _open(path: Path) -> PIL.Image.Image:
    """Open an image file, unless it would take too much memory; rotating it takes a copy."""
    name = repr(str(path))
    image = open_image(path, name)
    try:
        if image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1:
            check_memory(
                f"{name} (rotated)", image.size, 2 * MIN_BYTES_PER_PIXEL * image.width * image.height
            )
    except MediaError:
        image.close()
        raise
    return image


def _labels_of_function(spec_labels: Sequence[Any]) -> list[Label]:
    """The labels of a spec as labels of a task. Sublabels get their own ids."""
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
