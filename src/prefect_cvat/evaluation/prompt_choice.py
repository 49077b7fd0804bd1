"""Chooses the words for the labels of a task by what wordings have found."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_cvat.auto_annotation.label_prompts import FOUND_TYPES, prompts_for_labels, readable, same_words
from prefect_cvat.auto_annotation.labels_for_factories import Prompts, labels_of_task
from prefect_cvat.evaluation.report.prompt_trial_report import LEAST_AP50, WordingResult
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.models import Label

__all__ = ["chosen_prompts", "why_unfit"]


def chosen_prompts(
    results: Sequence[WordingResult], labels: Sequence[Label]
) -> tuple[dict[str, str | list[str] | None], dict[str, str]]:
    """The prompts for the labels, and the labels whose best wording is another label's, with that label.

    A wording goes to the label that it finds best, but the name of a label that was not tried stays its own.
    A label that was not tried and has no words in its name is left out.
    """
    tried = {each.label for each in results}
    others = [label.name for label in labels if label.name not in tried and label.type in FOUND_TYPES]
    owners = {same_words(readable(name)): name for name in others}
    chosen: dict[str, str | list[str] | None] = dict.fromkeys(
        label.name for label in labels if label.name in tried or label.name in others
    )
    taken: dict[str, str] = {}
    for each in sorted(results, key=lambda result: (-result.ap, -result.ap50)):
        if chosen[each.label] is None and each.ap50 >= LEAST_AP50:
            owner = owners.setdefault(same_words(each.wording), each.label)
            if owner == each.label:
                chosen[each.label] = _as_prompt(each.wording)
            else:
                taken.setdefault(each.label, owner)
    named = {name for name in others if readable(name)}
    return {label: words for label, words in chosen.items() if label not in named}, taken


def why_unfit(labels: Sequence[Label], prompts: Prompts) -> str:
    """Why no run on the task would take the prompts; empty if it would."""
    try:
        prompts_for_labels(labels_of_task(labels), prompts)
    except BadFunctionError as error:
        return str(error)
    return ""


def _as_prompt(wording: str) -> str | list[str]:
    """A wording as one of `prompts`, where a comma in a text separates several."""
    return [wording] if "," in wording else wording
