"""Checks of a function's labels against a task; all problems are reported at once.

Where the SDK has a message for a problem (cvat_sdk 2.80, auto_annotation/driver.py), this message contains
it, and the problem comes first, so that users can search for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import Attribute, Label, enum_value

__all__ = ["LabelMismatches", "output_type"]

MAX_LINES = 10
"""Maximum number of problems that a message lists."""


class LabelMismatches:
    """Mismatches between the labels of a function and a task.

    Attributes:
        unmatched: Labels and attributes of the function that the task does not have, such as `label 'boat'`.
    """

    def __init__(self) -> None:
        self.unmatched: list[str] = []
        self._problems: list[tuple[str, bool]] = []

    def refuse(self, problem: str) -> None:
        """Add a problem that cannot be ignored."""
        self._problems.append((problem, False))

    def miss(self, what: str, wanted: str, name: str, names: Sequence[str]) -> None:
        """Add a label or attribute that the task does not have.

        Args:
            what: The label or attribute, such as `label 'boat'`.
            wanted: The name that was looked for in the task.
            name: Its name in the function.
            names: The names that the task has there.
        """
        renamed = "" if wanted == name else f" as {wanted!r}, which {argument('label_map')} asks for"
        self.drop(what, f"{what} is not in dataset{renamed}{did_you_mean(wanted, names)}")

    def drop(self, what: str, problem: str) -> None:
        """Add an unmatched label, or a problem where unmatched labels are not allowed."""
        self.unmatched.append(what)
        self._problems.append((problem, True))

    def raise_if_any(self, task_name: str, *, allow_unmatched_labels: bool) -> None:
        """Raise an error with all problems.

        Raises:
            BadFunctionError: There is a problem.
        """
        problems = [text for text, may_drop in self._problems if not (may_drop and allow_unmatched_labels)]
        if not problems:
            return
        remedy = (
            f" Map them with {argument('label_map')}, or pass {argument('allow_unmatched_labels', True)} to"
            " drop them."
            if self.unmatched and not allow_unmatched_labels
            else ""
        )
        start = f"the function does not fit {task_name}"
        if len(problems) == 1:
            raise BadFunctionError(f"{start}: {problems[0]}.{remedy}")
        lines = [f"{start} in {len(problems)} points:", *(f"  - {text}" for text in problems[:MAX_LINES])]
        if len(problems) > MAX_LINES:
            lines.append(f"  and {len(problems) - MAX_LINES} more")
        raise BadFunctionError("\n".join([*lines, *([remedy.strip()] * bool(remedy))]))

    # --- comparing the two ---

    def check_type(self, where: str, label_type: str, task_label: Label) -> None:
        """Check that a label of the task accepts annotations of a type."""
        if label_type != "any" and task_label.type not in ("any", label_type):
            self.refuse(
                f"{where} has type {label_type!r} in the function, but {task_label.type!r} in the dataset"
            )

    def check_attribute(self, where: str, attribute: Any, task_attribute: Attribute) -> bool:
        """Check that an attribute has the same values in function and task; return whether it has."""
        input_type, task_type = enum_value(attribute.input_type), task_attribute.input_type.value
        if input_type != task_type:
            self.refuse(
                f"{where} has input type {input_type} in the function, but {task_type} in the dataset"
            )
            return False
        values, task_values = list(attribute.values), task_attribute.values
        match input_type:
            case "text" | "checkbox":
                fits = True
            case "number":
                fits = values == task_values
            case _:
                fits = sorted(values) == sorted(task_values)
        if not fits:
            self.refuse(f"{where} has values {values!r} in the function, but {task_values!r} in the dataset")
        return fits

    def check_keypoints(
        self, where: str, task_keypoints: Sequence[str], mapped: Iterable[tuple[str, str]]
    ) -> None:
        """Check that each keypoint of the task's label is mapped exactly once.

        (The SDK checks this on the first skeleton that the function returns.)

        Args:
            where: The label of the function.
            task_keypoints: The sublabels of the task's label.
            mapped: Pairs of a sublabel of the function and one of the task.
        """
        sources: dict[str, list[str]] = {name: [] for name in task_keypoints}
        for name, target in mapped:
            sources[target].append(name)
        for target, names in sources.items():
            if len(names) > 1:
                self.refuse(
                    f"{where} is a skeleton with multiple elements with same sublabel:"
                    f" {quoted_list(names)} go to"
                    f" {target!r}"
                )
        if missing := [target for target, names in sources.items() if not names]:
            self.refuse(
                f"{where} is a skeleton with fewer elements than expected"
                f" ({len(sources) - len(missing)} vs {len(sources)}): the function has no"
                f" {quoted_list(missing)};"
                f" map its sublabels, or drop the label, with {argument('label_map')}"
            )


def output_type(label: Any, conv_mask_to_poly: bool) -> str:
    """The type of annotations that a function returns for a label of its spec; `any` if not specified."""
    label_type = enum_value(getattr(label, "type", None) or "any")
    return "polygon" if conv_mask_to_poly and label_type == "mask" else label_type
