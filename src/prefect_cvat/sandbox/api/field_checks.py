"""Checks of single fields of a request body, with the messages of CVAT's serializers."""

import re
from collections.abc import Callable, Sequence
from typing import Any

SOURCES = ("auto", "semi-auto", "manual", "file", "consensus")
REQUIRED = "This field is required."
_NULL = "This field may not be null."
_WHOLE = re.compile(r"\.0*\s*$")
_TRUE = (True, 1, "1", "t", "T", "true", "True", "TRUE", "y", "Y", "yes", "on")
_FALSE = (False, 0, "0", "f", "F", "false", "False", "FALSE", "n", "N", "no", "off")


class FieldError(ValueError):
    """A field has an invalid value; `body` is what CVAT answers."""

    def __init__(self, body: Any) -> None:
        super().__init__(body)
        self.body = body


def integer(value: Any, *, low: int | None = None) -> int:
    """An integer. Strings and floats with an integer value are accepted."""
    if type(value) is not int:
        if value is None:
            raise FieldError([_NULL])
        try:
            value = int(_WHOLE.sub("", str(value)))
        except ValueError:
            raise FieldError(["A valid integer is required."]) from None
    if low is not None and value < low:
        raise FieldError([f"Ensure this value is greater than or equal to {low}."])
    return int(value)


def natural(value: Any) -> int:
    """An integer of at least 0."""
    return integer(value, low=0)


def group(value: Any) -> int:
    """A group number; null means 0, no group."""
    return 0 if value is None else natural(value)


def number_within(low: float, high: float) -> Callable[[Any], float]:
    """Make a check for numbers from `low` to `high`; it returns floats."""

    def check(value: Any) -> float:
        if type(value) not in (int, float):
            if value is None:
                raise FieldError([_NULL])
            try:
                value = float(value)
            except (TypeError, ValueError):
                raise FieldError(["A valid number is required."]) from None
        if value < low:
            raise FieldError([f"Ensure this value is greater than or equal to {low:g}."])
        if value > high:
            raise FieldError([f"Ensure this value is less than or equal to {high:g}."])
        return float(value)

    return check


def boolean(value: Any) -> bool:
    """A boolean. The strings that Django accepts are accepted."""
    if value is True or value is False:
        return bool(value)
    if value is None:
        raise FieldError([_NULL])
    if isinstance(value, int | str):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise FieldError(["Must be a valid boolean."])


def source(value: Any) -> str:
    """The source of an annotation."""
    if value is None:
        raise FieldError([_NULL])
    if value not in SOURCES:
        choices = ", ".join(repr(name) for name in SOURCES)
        raise FieldError([f"must be one of {choices}, got {str(value)!r}"])
    return str(value)


def choice(choices: Sequence[str]) -> Callable[[Any], str]:
    """Make a check for one of several strings."""

    def check(value: Any) -> str:
        if value is None:
            raise FieldError([_NULL])
        if value not in choices:
            raise FieldError([f'"{value}" is not a valid choice.'])
        return str(value)

    return check


def points(value: Any) -> list[float]:
    """Coordinates. Numbers in strings are refused, as in CVAT."""
    items = list_of_items(value)
    if set(map(type, items)) <= {int, float}:
        return items
    refused = "[ErrorDetail(string='Value must be a float or an integer', code='invalid')]"
    raise FieldError(
        {str(index): refused for index, item in enumerate(items) if type(item) not in (int, float)}
    )


def attributes(value: Any) -> list[dict[str, Any]]:
    """Attribute values; they become strings."""
    items = list_of_items(value)
    if not items:
        return items
    kept: list[dict[str, Any]] = []
    errors: list[Any] = []
    for item in items:
        try:
            kept.append(_attribute(item))
            errors.append({})
        except FieldError as error:
            errors.append(error.body)
    if any(errors):
        raise FieldError(errors)
    return kept


def list_of_items(value: Any) -> list[Any]:
    """A list."""
    if isinstance(value, list):
        return value
    if value is None:
        raise FieldError([_NULL])
    raise FieldError(
        {"non_field_errors": [f'Expected a list of items but got type "{type(value).__name__}".']}
    )


def mapping(value: Any) -> dict[str, Any]:
    """An object."""
    if isinstance(value, dict):
        return value
    raise FieldError(
        {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {type(value).__name__}."]}
    )


def _attribute(value: Any) -> dict[str, Any]:
    item = mapping(value)
    errors = {name: [REQUIRED] for name in ("spec_id", "value") if name not in item}
    if errors:
        raise FieldError(errors)
    try:
        spec_id = natural(item["spec_id"])
    except FieldError as error:
        raise FieldError({"spec_id": error.body}) from None
    text = item["value"]
    if text is None:
        raise FieldError({"value": [_NULL]})
    if not isinstance(text, str | int | float):
        raise FieldError({"value": ["Not a valid string."]})
    return {"spec_id": spec_id, "value": str(text)}
