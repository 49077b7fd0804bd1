"""Whether the attribute values that a function returned fit its own spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from prefect_cvat.attributes import MOST_LISTED, allowed_values, attribute_value_validator
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.models import AttributeValRequest

__all__ = ["AttributeCheck", "AttributeChecks", "attribute_checks", "check_attribute_values"]


@dataclass(frozen=True, slots=True)
class AttributeCheck:
    """What values of one attribute may be."""

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


def check_attribute_values(values: Sequence[AttributeValRequest], checks: AttributeChecks, what: str) -> None:
    """Check attribute values.

    Args:
        values: What the function returned.
        checks: Those of the label or sublabel.
        what: `tag`, `shape` or `shape element`, for messages.

    Raises:
        BadFunctionError: A value is of an unknown attribute, or does not fit it, or there are two of it.
    """
    seen: set[int] = set()
    for value in values:
        check = checks.get(value.spec_id)
        if check is None:
            known = [f"{spec_id} ({check.name!r})" for spec_id, check in checks.items()]
            more = f", ... ({len(known)} in all)" if len(known) > MOST_LISTED else ""
            raise BadFunctionError(
                f"function output attribute with unknown ID ({value.spec_id}) on a {what};"
                f" its label has the attributes {', '.join(known[:MOST_LISTED]) or '(none)'}{more}"
            )
        if value.spec_id in seen:
            raise BadFunctionError(
                # the SDK says "shape" of tags, too
                "function output shape with multiple attributes with same ID"
                f" ({value.spec_id}, on a {what}): {check.name!r} takes one value"
            )
        seen.add(value.spec_id)
        if not check.is_suitable(value.value):
            raise BadFunctionError(
                f"function output attribute value ({value.value!r})"
                f" that is unsuitable for its attribute ({value.spec_id}):"
                f" {check.name!r} takes {check.allowed}"
            )
