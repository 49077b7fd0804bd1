"""The report of an export."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.runs.reports.report_model import cached_frames

__all__ = ["ExportReport"]

MAX_NAMES = 5
"""Maximum number of renamed files that `lines` lists."""


class ExportReport(BaseModel):
    """The report of an export.

    Attributes:
        task_id: The id of the task.
        task_name: Its name.
        url: Its address in CVAT.
        source: What was exported: detections of a function, or annotations of the task.
        format: `coco` or `yolo`.
        folder: The folder of the dataset.
        seconds: The duration of the export.
        frames: The number of frames in the dataset.
        frames_from_cache: The number of frames whose detections came from the cache.
        images: Whether the dataset contains the images.
        empty_frames: The number of frames without annotations.
        labels: The number of annotations by label.
        outlines: Whether some annotations have outlines. If so, all are outlines in YOLO's format.
        left_out: The number of frames or annotations that are not in the dataset, by reason.
        approximated: The number of annotations that the format cannot represent exactly, by reason.
        renamed: Names of frames that could not be used as file names, each with the file name: the first
            1,000.
        renamed_frames: The number of all such names.
        frames_failed: The number of frames on which the function failed. These frames are not in the dataset.
        frame_errors: Errors on the first 1,000 of them, by frame.
    """

    model_config = ConfigDict(extra="forbid")

    task_id: int
    task_name: str
    url: str
    source: str
    format: str
    folder: Path
    seconds: float
    frames: int
    frames_from_cache: int = 0
    images: bool
    empty_frames: int
    labels: dict[str, int]
    outlines: bool
    left_out: dict[str, int] = Field(default_factory=dict)
    approximated: dict[str, int] = Field(default_factory=dict)
    renamed: list[tuple[str, str]] = Field(default_factory=list)
    renamed_frames: int = 0
    frames_failed: int = 0
    frame_errors: dict[int, str] = Field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report as lines for a terminal."""
        count = sum(self.labels.values())
        if self.format == "coco":
            written = pluralize(count, "annotation")
        else:
            written = pluralize(count, "outline") if self.outlines else pluralize(count, "box", "boxes")
        lines = [
            f"task {self.task_id} ({self.task_name!r}) at {self.url}: {self.source}",
            f"{pluralize(self.frames, 'frame')} in {self.seconds:.1f} s,"
            f" {self.empty_frames} of them without annotations",
        ]
        if self.frames_from_cache:
            lines.append(cached_frames(self.frames_from_cache))
        lines.append(written)
        by_count = sorted(self.labels.items(), key=lambda item: (-item[1], item[0]))
        lines += [f"  {count} {name}" for name, count in by_count]
        lines += [f"left out: {what} ({count})" for what, count in self.left_out.items()]
        lines += [f"approximated: {how} ({count})" for how, count in self.approximated.items()]
        lines += [f"failed: frame {number}: {why}" for number, why in self.frame_errors.items()]
        if (more := self.frames_failed - len(self.frame_errors)) > 0:
            lines.append(f"failed: {pluralize(more, 'more frame')}")
        lines += [f"renamed: {name!r} is {file!r}" for name, file in self.renamed[:MAX_NAMES]]
        if (more := max(self.renamed_frames, len(self.renamed)) - MAX_NAMES) > 0:
            lines.append(f"renamed: {more} more")
        lines.append(
            f"written as {self.format} to {self.folder}" + (", without images" if not self.images else "")
        )
        return lines
