"""Options for the frames and jobs of a run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = [
    "MAX_JOBS",
    "NUMBERS_IN_FORM",
    "TEXT_IN_JSON",
    "FrameOptions",
    "Selection",
    "read_frame_numbers",
    "read_frames",
    "read_jobs",
]

MAX_JOBS = 10_000
"""Maximum number of selected jobs: each is locked."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The frames of a task to process; by default all.

    Attributes:
        frames: Relative frame numbers; None for all.
        jobs: Ids of annotation jobs; None for all.
        unannotated: Select only frames without annotations; see `exclude_annotated`.
    """

    frames: Collection[int] | None = None
    jobs: Collection[int] | None = None
    unannotated: bool = False

    def __post_init__(self) -> None:
        if self.frames is not None:
            object.__setattr__(self, "frames", NumberRanges.of(self.frames))


def read_frames(value: Any) -> NumberRanges | Literal["unannotated"] | None:
    """Read frames: numbers, text such as `0-99,200`, or `unannotated`; None, or an empty text, for all.

    Raises:
        ValueError: It is none of these.
    """
    if value is None or value == "":
        return None
    if value == "unannotated":
        return "unannotated"
    return _read_numbers(value, minimum=0)


def read_frame_numbers(value: Any) -> NumberRanges | None:
    """Read numbers of frames, or text such as `0-99,200`; None, or an empty text, for none.

    Raises:
        ValueError: It is neither.
    """
    return None if value is None or value == "" else _read_numbers(value, minimum=0)


def read_jobs(value: Any) -> tuple[int, ...] | None:
    """Read ids of jobs: numbers, or text such as `12,13`; None, or an empty text, for all.

    Raises:
        ValueError: It is neither, or there are more than `MAX_JOBS`.
    """
    if value is None or value == "":
        return None
    jobs = _read_numbers(value, minimum=1)
    if len(jobs) > MAX_JOBS:
        raise ValueError(
            f"{jobs.describe()} has {len(jobs)} jobs; select at most {MAX_JOBS}, or omit the option for all"
        )
    return tuple(jobs)


def _read_numbers(value: Any, minimum: int) -> NumberRanges:
    if isinstance(value, str):
        numbers = NumberRanges.parse(value)
    elif isinstance(value, Collection) and (
        isinstance(value, range | NumberRanges) or all(type(number) is int for number in value)
    ):
        numbers = NumberRanges.of(value)
    else:
        raise ValueError(f"must be numbers, or text such as 0-99,200, not {value!r}")
    if (first := next(iter(numbers), minimum)) < minimum:
        raise ValueError(f"must be {minimum} or more, not {first}")
    return numbers


def _as_text(numbers: Collection[int] | str | None) -> str | None:
    if numbers is None or isinstance(numbers, str):
        return numbers
    ranges = NumberRanges.of(numbers)
    return ranges.describe(max(len(ranges), 1))


NUMBERS_IN_FORM = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
)
TEXT_IN_JSON = PlainSerializer(_as_text, when_used="json")


class FrameOptions(OptionModel):
    """Options for frames, jobs and the quality of images."""

    group: ClassVar[str] = "Frames"

    frames: Annotated[
        Collection[int] | Literal["unannotated"] | None,
        PlainValidator(read_frames),
        TEXT_IN_JSON,
        NUMBERS_IN_FORM,
        OnCommandLine(metavar="RANGES|unannotated"),
        Field(
            description=(
                "Frame numbers in the task, from 0, such as 0-99,150; or unannotated, for frames without"
                " annotations; by default all."
            )
        ),
    ] = None
    jobs: Annotated[
        Collection[int] | None,
        PlainValidator(read_jobs),
        TEXT_IN_JSON,
        NUMBERS_IN_FORM,
        OnCommandLine(metavar="IDS"),
        Field(description="Ids of the jobs to process, such as 12,13; by default all jobs."),
    ] = None
    quality: Annotated[
        Literal["original", "compressed"],
        Field(
            description=(
                "Original images, or compressed ones as CVAT shows them to annotators, which are smaller to"
                " download."
            )
        ),
    ] = "original"

    @property
    def selection(self) -> Selection:
        """The selection for a plan."""
        if isinstance(self.frames, str):
            return Selection(jobs=self.jobs, unannotated=True)
        return Selection(frames=self.frames, jobs=self.jobs)
