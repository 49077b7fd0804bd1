"""What an export did."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.messages.plurals import pluralize

__all__ = ["ExportReport"]

MOST_NAMES = 5
"""How many of the names that were changed are told in lines."""


class ExportReport(BaseModel):
    """What an export did.

    Attributes:
        task_id: The task.
        task_name: Its name.
        url: Its address in CVAT.
        source: What was exported: the name of a function, or what is in the task.
        format: `coco` or `yolo`.
        folder: Where the dataset is.
        seconds: How long it took.
        frames: How many frames the dataset has.
        frames_from_cache: Of how many of them the detections were kept from an earlier run.
        images: Whether their images are there too.
        empty_frames: How many of them have no annotation.
        labels: How many annotations of each label there are.
        outlines: Whether there are outlines among them. In YOLO's format all are outlines then, else boxes.
        left_out: How many frames or annotations are not in the dataset, by reason.
        approximated: How many annotations are not quite what was found, by how.
        renamed: Names of frames that could not be the names of their files, and what these are called: of
            the first 1,000.
        renamed_frames: How many frames that are, all together.
        failed: How many frames were skipped because the function failed on them. They are not in the dataset.
        failed_frames: What went wrong on the first 1,000 of them, by frame.
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
    failed: int = 0
    failed_frames: dict[int, str] = Field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for a terminal."""
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
            of_them = pluralize(self.frames_from_cache, "of them was", "of them were")
            lines.append(f"{of_them} detected in an earlier run")
        lines.append(written)
        by_count = sorted(self.labels.items(), key=lambda item: (-item[1], item[0]))
        lines += [f"  {count} {name}" for name, count in by_count]
        lines += [f"left out: {what} ({count})" for what, count in self.left_out.items()]
        lines += [f"approximated: {how} ({count})" for how, count in self.approximated.items()]
        lines += [f"failed: frame {number}: {why}" for number, why in self.failed_frames.items()]
        if (more := self.failed - len(self.failed_frames)) > 0:
            lines.append(f"failed: {pluralize(more, 'more frame')}")
        lines += [f"renamed: {name!r} is {file!r}" for name, file in self.renamed[:MOST_NAMES]]
        if (more := max(self.renamed_frames, len(self.renamed)) - MOST_NAMES) > 0:
            lines.append(f"renamed: {more} more")
        lines.append(
            f"written as {self.format} to {self.folder}" + (", without images" if not self.images else "")
        )
        return lines
