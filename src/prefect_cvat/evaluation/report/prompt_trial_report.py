"""What a trial of wordings has found: its table, and the file of the best words."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from prefect_cvat.evaluation.report.tables import Row, aligned
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.files.output_file import write_text
from prefect_cvat.messages.plurals import pluralize

__all__ = ["LEAST_AP50", "PromptTrial", "WordingResult", "prompt_lines", "write_prompts"]

LEAST_AP50 = 0.1
"""A label whose best wording has a lower average precision, at IoU 0.5, is one that words cannot find."""


class WordingResult(BaseModel):
    """How well a wording finds the objects of a label.

    Attributes:
        label: The label.
        wording: What was looked for.
        objects: Number of objects that people have annotated.
        ap: COCO's average precision of boxes, the mean over IoU thresholds from 0.5 to 0.95.
        ap50: Average precision of boxes at IoU 0.5.
        best_f1: The F1 at the best score threshold; None if nothing was found.
        best_threshold: That threshold.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    wording: str
    objects: int
    ap: float
    ap50: float
    best_f1: float | None
    best_threshold: float | None


class PromptTrial(BaseModel):
    """What a trial of wordings has found.

    Attributes:
        task_id: Id of the task.
        task_name: Name of the task.
        url: Address of the task in CVAT.
        function: The name of the function.
        truth: Description of the ground truth.
        frames: Number of frames with ground truth.
        seconds: Duration in seconds.
        results: The wordings, by label in the order of the task, the best of each first.
        prompts: The best wording by label, for `prompts` of later runs. A wording is given to one label only.
            None for a label that has none left, or that has none in its name and was not tried.
        why_unfit: Why no run on the task would take these prompts; empty if it would.
        taken: Labels that do not get their best wording, each with the label whose it is.
        not_found: Labels that no wording finds, each with the AP50 of its best one, see `LEAST_AP50`.
        not_tried: Labels that were not tried, each with the reason.
    """

    model_config = ConfigDict(frozen=True)

    task_id: int
    task_name: str
    url: str
    function: str
    truth: str
    frames: int
    seconds: float
    results: tuple[WordingResult, ...]
    prompts: dict[str, str | list[str] | None]
    why_unfit: str
    taken: dict[str, str]
    not_found: dict[str, float]
    not_tried: dict[str, str]


def prompt_lines(trial: PromptTrial) -> list[str]:
    """A trial as plain lines: the wordings, the best of each label first, and what words cannot find."""
    best = {each.label: each.wording for each in reversed(trial.results)}
    rows: list[Row] = [
        {
            "label": each.label,
            "wording": each.wording,
            "AP": f"{each.ap:.3f}",
            "AP50": f"{each.ap50:.3f}",
            "objects": each.objects,
            "best F1": "-" if each.best_f1 is None else f"{each.best_f1:.3f}",
            "at score": "-" if each.best_threshold is None else f"{each.best_threshold:.3f}",
        }
        for each in trial.results
    ]
    return [
        f"task {trial.task_id} ({trial.task_name!r}): {pluralize(len(rows), 'wording')} tried with"
        f" {trial.function} on {trial.truth}: {pluralize(trial.frames, 'frame')} in {trial.seconds:.1f} s",
        "",
        *aligned(rows),
        "",
        *(
            f"words do not find label {label!r}: the best AP50 is {ap50:.3f}, less than {LEAST_AP50:g};"
            " it is left out (null) in the prompts"
            for label, ap50 in trial.not_found.items()
        ),
        *(
            f"label {label!r} does not get its best wording {best[label]!r}, which is that of label"
            f" {owner!r}; it {_gets(trial.prompts[label])}"
            for label, owner in trial.taken.items()
        ),
        *(f"not tried: label {label!r} {why}" for label, why in trial.not_tried.items()),
    ]


def write_prompts(trial: PromptTrial, file: Path) -> None:
    """Write the best words of each label as JSON, which `--prompts` reads.

    Raises:
        BadFunctionError: No run on the task would take them.
        StorageError: The file cannot be written.
    """
    if trial.why_unfit:
        raise BadFunctionError(f"the prompts are not written to {file}: {trial.why_unfit}")
    write_text(file, json.dumps(trial.prompts, indent=2, ensure_ascii=False) + "\n")


def _gets(words: str | list[str] | None) -> str:
    if words is None:
        return "is left out (null) in the prompts"
    return f"gets {(words if isinstance(words, str) else words[0])!r}"
