"""What a first pass by functions has saved the people who corrected it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, computed_field

from prefect_cvat.corrections.correction import Correction, CorrectionKind
from prefect_cvat.corrections.correction_seconds import seconds_with_run, seconds_without_run
from prefect_cvat.corrections.task_corrections import TaskCorrections, corrections_of_task
from prefect_cvat.corrections.threshold_advice import advise
from prefect_cvat.cvat.sdk_client import AnyClient
from prefect_cvat.messages.plurals import format_counts, format_duration, pluralize
from prefect_cvat.options.correction_options import CorrectionSeconds
from prefect_cvat.options.frame_options import Selection

__all__ = ["LabelSavings", "SavedTime", "SavedTimeSum", "saved_time"]

_OF_RUN: tuple[CorrectionKind, ...] = ("confirmed", "moved", "relabelled", "deleted")

UNKNOWN_FUNCTION = "unknown function"


class LabelSavings(BaseModel):
    """What a function has saved for one label.

    Attributes:
        function: The name of the function; `unknown function` for automatic annotations of no recorded run.
        label: The name of the label that the function gave.
        confirmed: Number of annotations that were right.
        moved: Number of annotations whose outline was changed.
        relabelled: Number of annotations whose label was changed, also if their outline was.
        deleted: Number of deleted annotations.
        seconds_without: Seconds to draw these annotations by hand.
        seconds_with: Seconds to look at what the function wrote and to correct it.
        advice: What to do about a label that costs more than it saves; else empty.
    """

    model_config = ConfigDict(frozen=True)

    function: str
    label: str
    confirmed: int
    moved: int
    relabelled: int
    deleted: int
    seconds_without: float
    seconds_with: float
    advice: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_saved(self) -> float:
        """The difference; negative if the function costs more than it saves."""
        return self.seconds_without - self.seconds_with


class SavedTime(BaseModel):
    """What a first pass has saved, by the stated seconds of each action.

    Attributes:
        name: The task, such as `task 42`, or the project.
        url: Its address in CVAT.
        runs: Number of recorded runs.
        frames: Number of frames that somebody has looked at; only these count.
        frames_processed: Number of frames that a run has processed.
        drawn: Number of annotations that people have drawn, by label.
        seconds_drawing: Seconds to draw these: needed with and without a first pass.
        by_label: The savings by function and label, the largest first.
        seconds: The seconds of each action.
        unknown: What is not known, and why.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    url: str
    runs: int
    frames: int
    frames_processed: int
    drawn: dict[str, int]
    seconds_drawing: float
    by_label: list[LabelSavings]
    seconds: CorrectionSeconds
    unknown: list[str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_without(self) -> float:
        """Seconds to annotate these frames by hand."""
        return self.seconds_drawing + sum(each.seconds_without for each in self.by_label)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_with(self) -> float:
        """Seconds to correct the first pass and to draw what it missed."""
        return self.seconds_drawing + sum(each.seconds_with for each in self.by_label)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_saved(self) -> float:
        """The difference; negative if the first pass costs more than it saves."""
        return self.seconds_without - self.seconds_with

    @property
    def advice(self) -> list[str]:
        """The advice on labels that cost more than they save."""
        return [each.advice for each in self.by_label if each.advice]

    def lines(self) -> list[str]:
        """The result as lines for a terminal or a log."""
        notes = self.notes()
        return [*notes[:2], *self._table(), *notes[2:]] if self.frames else notes

    def notes(self) -> list[str]:
        """The result in sentences, without the table by function and label; the first is the headline."""
        unknown = [f"not known: {reason}" for reason in self.unknown]
        if not self.frames:
            return [self._nothing_yet(), *unknown]
        share = f" ({self.seconds_saved / self.seconds_without:.0%})" if self.seconds_without else ""
        verb = "saved" if self.seconds_saved >= 0 else "lost"
        notes = [
            f"{self.name} at {self.url}: {format_duration(abs(self.seconds_saved))} {verb}{share}: by hand"
            f" {format_duration(self.seconds_without)}, with the first pass"
            f" {format_duration(self.seconds_with)}",
            f"on {self.frames} of {pluralize(self.frames_processed, 'frame')}: somebody has looked at them",
        ]
        if self.drawn:
            drawn = format_counts(self.drawn)
            notes.append(f"drawn, as without a first pass: {drawn} ({format_duration(self.seconds_drawing)})")
        seconds = ", ".join(
            f"{name} {value:g}" for name, value in self.seconds.model_dump(exclude={"accepted_iou"}).items()
        )
        return [*notes, *self.advice, *unknown, f"seconds: {seconds}"]

    def _nothing_yet(self) -> str:
        return (
            f"{self.name} at {self.url}: nothing is known to be corrected yet on"
            f" {pluralize(self.frames_processed, 'frame')} with automatic annotations. Frames count once"
            " something is corrected on them, their job is completed, or they are named as looked at"
        )

    def _table(self) -> list[str]:
        rows = [("function", "label", *_OF_RUN, "by hand", "corrected", "saved")]
        rows += [
            (
                each.function,
                each.label,
                *(str(getattr(each, kind)) for kind in _OF_RUN),
                format_duration(each.seconds_without),
                format_duration(each.seconds_with),
                ("-" if each.seconds_saved < 0 else "") + format_duration(abs(each.seconds_saved)),
            )
            for each in self.by_label
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  " + "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]  # fmt: skip


@dataclass
class _OfLabel:
    counts: Counter[CorrectionKind] = field(default_factory=Counter)
    without: float = 0.0
    with_run: float = 0.0
    scored: list[tuple[float, float]] = field(default_factory=list)


class SavedTimeSum:
    """Adds up what was saved in several tasks.

    Args:
        seconds: The seconds of each action; None for the defaults.
    """

    def __init__(self, seconds: CorrectionSeconds | None = None) -> None:
        self.seconds = seconds or CorrectionSeconds()
        self._runs = self._frames = self._processed = 0
        self._drawn: Counter[str] = Counter()
        self._drawing = 0.0
        self._by_label: dict[tuple[str, str], _OfLabel] = {}
        self._unknown: list[str] = []

    def add(self, done: TaskCorrections, *, named: bool = False) -> None:
        """Add a task.

        Args:
            done: Its corrections.
            named: Whether its name is put before what is not known about it.
        """
        self._runs += len(done.runs)
        self._frames += len(done.frames)
        self._processed += done.frames_processed
        self._unknown += [f"task {done.task_id}: {why}" if named else why for why in done.unknown]
        frames = done.frames.by_number
        for correction in done:
            with_run = seconds_with_run(correction, frames[correction.frame], self.seconds)
            without = seconds_without_run(correction, self.seconds)
            if correction.kind == "drawn":
                self._drawn[correction.label] += 1
                self._drawing += with_run
            else:
                self._add(correction, without, with_run)

    def _add(self, correction: Correction, without: float, with_run: float) -> None:
        key = (correction.function or UNKNOWN_FUNCTION, correction.written_label or correction.label)
        of_label = self._by_label.setdefault(key, _OfLabel())
        of_label.counts[correction.kind] += 1
        of_label.without += without
        of_label.with_run += with_run
        if (score := correction.score) is not None and correction.function is not None:
            of_label.scored.append((score, without - with_run))

    def result(self, name: str, url: str) -> SavedTime:
        """What was saved in all tasks."""
        savings = [self._savings(*key) for key in self._by_label]
        return SavedTime(
            name=name,
            url=url,
            runs=self._runs,
            frames=self._frames,
            frames_processed=self._processed,
            drawn=dict(self._drawn.most_common()),
            seconds_drawing=self._drawing,
            by_label=sorted(savings, key=lambda each: -each.seconds_saved),
            seconds=self.seconds,
            unknown=self._unknown,
        )

    def _savings(self, function: str, label: str) -> LabelSavings:
        of_label = self._by_label[function, label]
        return LabelSavings(
            function=function,
            label=label,
            **{kind: of_label.counts[kind] for kind in _OF_RUN},
            seconds_without=of_label.without,
            seconds_with=of_label.with_run,
            advice=advise(
                function,
                label,
                of_label.with_run - of_label.without,
                of_label.counts.total(),
                of_label.scored,
            ),
        )


def saved_time(
    client: AnyClient,
    task_id: int,
    *,
    seconds: CorrectionSeconds | None = None,
    looked_at: Collection[int] = (),
    selection: Selection | None = None,
) -> SavedTime:
    r"""Estimate the time that the first pass by functions has saved in a task. Nothing is written.

    Each annotation that a run wrote on a frame that somebody has looked at is either confirmed, moved,
    relabelled or deleted; others are drawn. Each of these actions takes stated seconds. By hand, each
    annotation that is there now would have been drawn. Looking for what was missed takes the same time with
    and without a first pass, and is not counted.

    Example:
        ```python
        from prefect_cvat import Client
        from prefect_cvat.corrections import saved_time

        with Client("https://cvat.example.com", access_token="...") as client:
            print("\n".join(saved_time(client, 123).lines()))
        ```

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task.
        seconds: The seconds of each action; None for the defaults.
        looked_at: See `corrections_of_task`.
        selection: The frames and jobs that count; None for all.

    Raises:
        RunNotFoundError: No run on the task is recorded on this machine.
        PrefectCvatError: A request to the server failed, or a record cannot be read.
        ValueError: The task does not have a selected frame or job, or a frame of `looked_at`.
    """
    done = corrections_of_task(client, task_id, looked_at=looked_at, selection=selection)
    total = SavedTimeSum(seconds)
    total.add(done)
    return total.result(f"task {task_id}", done.url)
