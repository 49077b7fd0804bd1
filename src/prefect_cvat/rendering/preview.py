"""Runs a function on a few images and draws its detections, without a task to write to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from prefect_cvat.annotations.remapped_detections import Annotations, LabelRemapper
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector
from prefect_cvat.media.untrusted_images import (
    MIN_BYTES_PER_PIXEL,
    check_memory,
    decode_pixels,
    open_image,
)
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job, Label
from prefect_cvat.planning.label_mapping import build_mapping
from prefect_cvat.rendering.review_page.content import PageFrame, PageImage, PageRun, count_figure
from prefect_cvat.rendering.review_page.page_images import PageImages
from prefect_cvat.rendering.review_page.shapes_by_frame import ShapesByFrame
from prefect_cvat.rendering.sample_frames import label_names
from prefect_cvat.review.frame_ranking import rank_frames
from prefect_cvat.review.frame_summary import FrameSummaries

__all__ = ["open_image_files", "preview"]

OpenedFrame = tuple[Frame, PIL.Image.Image]


def preview(
    detector: Detector, opened: Iterable[OpenedFrame], *, count: int, file: Path | None = None
) -> tuple[PageRun, Counter[str]]:
    """Run a function on images and draw its detections, with the function's own labels.

    An image is in memory until the function has processed it; a small JPEG of it is drawn.

    Args:
        detector: The function with its settings.
        opened: The images: files (`open_image_files`) or frames of a task (`media.task_frames`).
        count: The number of images.
        file: The file of the page; None if all images must be part of the page.

    Returns:
        What the page shows, and the number of detections by label.

    Raises:
        BadFunctionError: The function failed, or returned something invalid.
    """
    labels = _labels_of_function(detector.labels)
    mapping = build_mapping(detector.labels, labels, conv_mask_to_poly=detector.conv_mask_to_poly)
    detector.fit_to(mapping)
    threshold = detector.conf_threshold or 0.0
    remapper = LabelRemapper(mapping, thresholds=dict.fromkeys(mapping.names, threshold), summarize=True)
    frames: dict[int, Frame] = {}
    images: dict[int, PageImage] = {}
    making = PageImages(count, file)

    def shrunk() -> Iterator[OpenedFrame]:
        for frame, image in opened:
            decode_pixels(image, frame)
            frames[frame.number] = frame
            images[frame.number] = making.make_one(frame, image)
            yield frame, image
            del image  # otherwise it would stay in memory while the next one is opened

    started = perf_counter()
    found = remapper.remap(detector.detect(shrunk()), frames)
    seconds = perf_counter() - started
    names = label_names(labels)
    shapes = ShapesByFrame()
    for shape in found.shapes:
        shapes.add(frames[shape["frame"]], shape, names[shape["label_id"]])
    shown = _page_frames(found, names, frames, images, shapes)
    function = type(detector.function).__name__
    return PageRun(
        heading=f"Preview of {pluralize(len(frames), 'image')}",
        key=f"prefect-cvat preview {function} {', '.join(frame.name for frame in frames.values())}",
        frames=shown,
        subtitle=f"{function}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; nothing was written to a server",
        figures=[
            count_figure(len(frames), "image"),
            count_figure(found.labels.total(), "detection"),
            ("seconds", f"{seconds:,.1f}"),
        ],
        notes=[
            *shapes.notes(),
            *(f"{frames[number]} failed: {error}" for number, error in found.errors.items()),
        ],
    ), found.labels


def _page_frames(
    found: Annotations,
    names: Mapping[int, str],
    frames: Mapping[int, Frame],
    images: Mapping[int, PageImage],
    shapes: ShapesByFrame,
) -> list[PageFrame]:
    """The images, those first on which most corrections are expected."""
    # frames are ranked by job; these have none
    everything = Job.model_construct(
        id=0, start_frame=min(frames, default=0), stop_frame=max(frames, default=0)
    )
    reviews = {
        review.frame: review
        for review in rank_frames(
            FrameSummaries(found.summaries),
            labels=names,
            jobs=[everything],
            url="",
            max_frames=len(frames),
        )
    }
    tags: dict[int, list[str]] = {}
    for tag in found.tags:
        tags.setdefault(tag["frame"], []).append(names[tag["label_id"]])
    shown = []
    for number in [*reviews, *(number for number in frames if number not in reviews)]:
        review = reviews.get(number)
        shown.append(
            PageFrame(
                frames[number],
                images[number],
                shapes.of(number),
                shapes.count(number),
                tags=tags.get(number, ()),
                corrections=None if review is None else review.expected_corrections,
                doubts=() if review is None else review.doubts,
                reasons=() if review is None else review.reasons,
            )
        )
    return shown


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
