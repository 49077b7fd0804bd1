"""What to look for in an image: words for the labels of a task."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_cvat.auto_annotation.labels_for_factories import Prompts, TaskLabel
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize, quoted_list
from prefect_cvat.messages.suggestions import did_you_mean

__all__ = ["FOUND_TYPES", "LabelPrompts", "prompts_for_labels", "readable", "same_words"]

FOUND_TYPES = ("any", "rectangle", "polygon", "mask")
"""The types of labels whose objects are found by words: a box or a mask cannot be made a skeleton."""

PUNCTUATION_IN_WORDS = "'’&%+"
"""Punctuation that stays in a name: `men's shoe`, `R&D`, `C++`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelPrompts:
    """A label of the task, and what to look for.

    Attributes:
        label: The label.
        words: One or more wordings. What any of them finds gets the label.
    """

    label: TaskLabel
    words: tuple[str, ...]


def prompts_for_labels(
    task_labels: Sequence[TaskLabel], prompts: Prompts | None = None
) -> list[LabelPrompts]:
    """Words for the labels of a task: their names, or what is given for them.

    Labels of types that are not boxes, polygons or masks are left out; a line in the log names them.

    Args:
        task_labels: The labels of the task.
        prompts: Words by label: `"a person, a pedestrian"` are two wordings, and so is a list of two. None
            leaves a label out. Labels that are not named here are looked for by their name.

    Returns:
        The labels to look for, in the order of the task.

    Raises:
        BadFunctionError: There are prompts for an unknown label or one that words cannot find, a label has no
            words, two labels have the same words, or no label is left.
    """
    given = dict(prompts or {})
    names = [label.name for label in task_labels]
    known = set(names)
    if unknown := [name for name in given if name not in known]:
        suggestions = did_you_mean(unknown[0], names) or f"; there are {quoted_list(names)}"
        raise BadFunctionError(
            f"there are prompts for {quoted_list(unknown)}, not labels of the task{suggestions}"
        )
    found, left_out = [], []
    for label in task_labels:
        words = given.get(label.name, readable(label.name))
        if words is None:
            continue
        if label.type in FOUND_TYPES:
            found.append(LabelPrompts(label, _wordings(label, words, is_given=label.name in given)))
        elif label.name in given:
            raise BadFunctionError(
                f"there are prompts for label {label.name!r} of type {label.type}; words find"
                " boxes and masks, so give null for it"
            )
        else:
            left_out.append(label)
    if left_out:
        logger.info(
            "%s of other types than boxes, polygons and masks left out: %s",
            pluralize(len(left_out), "label"),
            quoted_list([f"{label.name} ({label.type})" for label in left_out]),
        )
    _check_differ(found)
    if not found:
        raise BadFunctionError(
            "no label of the task can be found by words: words find labels of the types"
            f" {', '.join(FOUND_TYPES)}, without null as their prompt"
        )
    return found


def readable(name: str) -> str:
    """The words of a label's name: `traffic_light` and `trafficLight` are `traffic light`.

    Returns:
        The words in small letters; empty if the name has no letter and no digit.
    """
    spaced = "".join(
        letter if letter in PUNCTUATION_IN_WORDS or not _separates(letter) else " "
        for letter in _camel_case_split(unicodedata.normalize("NFKC", name))
    )
    return " ".join(spaced.lower().split()) if any(map(str.isalnum, spaced)) else ""


def same_words(wording: str) -> str:
    """A wording without what makes no difference to a model: capitals and spaces."""
    return " ".join(wording.casefold().split())


def _separates(letter: str) -> bool:
    """Whether a character is punctuation, a symbol, a space or a control character."""
    category = unicodedata.category(letter)
    return category[0] in "PSZ" or category == "Cc"


def _camel_case_split(name: str) -> str:
    """Put spaces into `trafficLight` and `LEDLamp`, but not into `iPhone`."""
    parts = []
    for index, letter in enumerate(name):
        before, after = name[max(index - 2, 0) : index], name[index + 1 : index + 3]
        starts_word = len(before) == 2 and before.isalnum() and before.islower()
        ends_acronym = before[-1:].isupper() and len(after) == 2 and after.isalpha() and after.islower()
        parts.append(f" {letter}" if letter.isupper() and (starts_word or ends_acronym) else letter)
    return "".join(parts)


def _wordings(label: TaskLabel, words: str | Sequence[str], *, is_given: bool) -> tuple[str, ...]:
    listed = words.split(",") if isinstance(words, str) and is_given else words
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, Sequence) or not all(isinstance(wording, str) for wording in listed):
        raise BadFunctionError(
            f"the prompt of label {label.name!r} is {words!r}; expected words, a list of words, or null"
        )
    by_key: dict[str, str] = {}
    for wording in listed:
        if wording.strip():
            by_key.setdefault(same_words(wording), " ".join(wording.split()))
    wordings = tuple(by_key.values())
    if not wordings and not is_given:
        raise BadFunctionError(
            f"label {label.name!r} has no words in its name; give words for it with {argument('prompts')},"
            " or null to leave it out"
        )
    if not all(any(map(str.isalnum, wording)) for wording in wordings) or not wordings:
        raise BadFunctionError(
            f"the prompt of label {label.name!r} is {words!r}, which has no words; give null to leave"
            " the label out"
        )
    return wordings


def _check_differ(found: Sequence[LabelPrompts]) -> None:
    """Check that no two labels look for the same words: what is found could have either label."""
    names: dict[str, str] = {}
    for each in found:
        for wording in each.words:
            name = names.setdefault(same_words(wording), each.label.name)
            if name != each.label.name:
                raise BadFunctionError(
                    f"labels {name!r} and {each.label.name!r} have the same prompt {wording!r};"
                    f" give one of them other words with {argument('prompts')}, or null to leave it out"
                )
