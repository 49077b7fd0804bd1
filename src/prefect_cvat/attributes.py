"""Attribute values in CVAT's format, and their validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from prefect_cvat import models
from prefect_cvat.messages.plurals import quoted_list

__all__ = [
    "allowed_values",
    "attribute_vals_from_dict",
    "attribute_value_validator",
    "number_attribute_values",
]

MAX_LISTED = 10
"""Maximum number of allowed values that a message lists."""


class _AttributeSpec(Protocol):
    @property
    def input_type(self) -> object: ...
    @property
    def values(self) -> list[str]: ...


def number_attribute_values(min_value: int, max_value: int, /, step: int = 1) -> list[str]:
    """Make the `values` of an attribute with `input_type="number"`.

    Args:
        min_value: The minimum.
        max_value: The maximum, which is `min_value` plus a multiple of `step`.
        step: The difference between two values, at least 1.

    Raises:
        ValueError: The arguments are inconsistent.
    """
    if min_value > max_value:
        raise ValueError(f"min_value must be less than or equal to max_value ({min_value}, {max_value})")
    if step <= 0:
        raise ValueError(f"step must be positive ({step})")
    if (max_value - min_value) % step:
        raise ValueError(f"step must be a divisor of max_value - min_value ({step}, {max_value - min_value})")
    return [str(min_value), str(max_value), str(step)]


def attribute_vals_from_dict(
    id_to_value: Mapping[int, str | int | bool], /
) -> list[models.AttributeValRequest]:
    """Make attribute values from a mapping of attribute ids to strings, whole numbers or booleans.

    Raises:
        TypeError: A value is of another type.
    """
    return [
        models.AttributeValRequest(spec_id=spec_id, value=_value_as_string(value))
        for spec_id, value in id_to_value.items()
    ]


def attribute_value_validator(spec: _AttributeSpec) -> Callable[[str], bool]:
    """Make a predicate for valid values of an attribute.

    Args:
        spec: An attribute as in `models.AttributeRequest`.

    Raises:
        ValueError: The `values` of the attribute are invalid for its `input_type`.
    """
    match models.InputTypeEnum(models.enum_value(spec.input_type)):
        case models.InputTypeEnum.CHECKBOX:
            return frozenset({"true", "false"}).__contains__
        case models.InputTypeEnum.TEXT:
            return _is_text
        case models.InputTypeEnum.NUMBER:
            return _number_validator(spec.values)
        case models.InputTypeEnum.RADIO | models.InputTypeEnum.SELECT:
            if not spec.values:
                raise ValueError("empty list of allowed values")
            return frozenset(spec.values).__contains__


def allowed_values(spec: _AttributeSpec) -> str:
    """Describe the valid values of an attribute, such as `a whole number from 0 to 6 in steps of 2`.

    Args:
        spec: An attribute whose `values` are valid for its `input_type`.
    """
    match models.InputTypeEnum(models.enum_value(spec.input_type)):
        case models.InputTypeEnum.CHECKBOX:
            return "'true' or 'false'"
        case models.InputTypeEnum.TEXT:
            return "any text that UTF-8 can hold, without NUL characters"
        case models.InputTypeEnum.NUMBER:
            low, high, step = spec.values
            return f"a whole number from {low} to {high}" + (f" in steps of {step}" if step != "1" else "")
        case models.InputTypeEnum.RADIO | models.InputTypeEnum.SELECT:
            return f"one of {quoted_list(spec.values, MAX_LISTED)}"


def _is_text(value: str) -> bool:
    """Whether PostgreSQL can store the text: it accepts neither NUL nor unpaired surrogates."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _number_validator(values: list[str]) -> Callable[[str], bool]:
    if len(values) != 3:
        raise ValueError(
            f"wrong number of values: expected 3, got {len(values)} (they are min_value, max_value and step)"
        )
    try:
        low, high, step = map(int, values)
    except ValueError as error:
        raise ValueError(f"values could not be converted to integers ({values!r})") from error
    number_attribute_values(low, high, step)

    def is_valid(value: str) -> bool:
        try:
            number = int(value)
        except ValueError:
            return False
        return low <= number <= high and (number - low) % step == 0

    return is_valid


def _value_as_string(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    raise TypeError(f"an attribute value must be a string, a whole number or a boolean, not {value!r}")
