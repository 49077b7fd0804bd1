"""Checks of attribute values that a function returned against its spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from prefect_cvat.attributes import MAX_LISTED, allowed_values, attribute_value_validator
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.models import AttributeValRequest

__all__ = ["AttributeCheck", "AttributeChecks", "attribute_checks", "check_attribute_values"]


@dataclass(frozen=True, slots=True)
class AttributeCheck:
    """The values that one attribute may have."""

    name: str
    is_suitable: Callable[[str], bool]
    allowed: str


AttributeChecks: TypeAlias = dict[int, AttributeCheck]


def attribute_checks(owner: Any) -> AttributeChecks:
    """The checks for the attributes of a label or sublabel of a function's spec, by their ids."""
    return {
        attribute.id: AttributeCheck(
            attribute.name, attribute_value_validator(attribute), allowed_values(attribute)
        )
        for attribute in getattr(owner, "attributes", None) or ()
    }


def check_attribute_values(
    values: Sequence[AttributeValRequest],
    checks: AttributeChecks,
    targets: Mapping[int, int | None],
    what: str,
) -> None:
    """Check attribute values, except those of attributes that the task does not have.

    Args:
        values: The values that the function returned.
        checks: The checks of the label or sublabel.
        targets: From its attribute ids to those of the task; None where the task has no such attribute.
        what: `tag`, `shape` or `shape element`, for messages.

    Raises:
        BadFunctionError: A value is of an unknown attribute, or does not fit it, or two go to one attribute.
    """
    seen: dict[int, AttributeCheck] = {}
    for value in values:
        check = checks.get(value.spec_id)
        if check is None:
            known = [f"{spec_id} ({check.name!r})" for spec_id, check in checks.items()]
            more = f", ... ({len(known)} in all)" if len(known) > MAX_LISTED else ""
            raise BadFunctionError(
                f"function output attribute with unknown ID ({value.spec_id}) on a {what};"
                f" its label has the attributes {', '.join(known[:MAX_LISTED]) or '(none)'}{more}"
            )
        target = targets[value.spec_id]
        if target is None:
            continue
        if (other := seen.get(target)) is not None:
            raise BadFunctionError(
                # the SDK says "shape" of tags, too
                "function output shape with multiple attributes with same ID"
                f" ({value.spec_id}, on a {what}): "
                + (
                    f"{check.name!r} takes one value"
                    if other is check
                    else f"{other.name!r} and {check.name!r} go to the same attribute of the task"
                )
            )
        seen[target] = check
        if not check.is_suitable(value.value):
            raise BadFunctionError(
                f"function output attribute value ({value.value!r})"
                f" that is unsuitable for its attribute ({value.spec_id}):"
                f" {check.name!r} takes {check.allowed}"
            )
