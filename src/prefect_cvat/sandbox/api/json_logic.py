"""The JSON logic of the query parameter `filter`, as far as CVAT 2.73 supports it."""

import operator
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def predicate(rule: Any, fields: Collection[str]) -> Predicate:
    """Compile a JSON logic rule to a function that tests a row.

    A rule is `{"and": [rules]}`, `{"or": [rules]}`, `{"!": rule}`, `{"var": field}` (it has a value),
    `{"==": [{"var": field}, value]}`, alike with <, <=, > and >=, `{"<=": [low, {"var": field}, high]}`,
    `{"in": [{"var": field}, [values]]}` or `{"in": [part, {"var": field}]}`.
    Values of fields that end in `_date` are ISO 8601 times, in UTC if they name no time zone.

    Args:
        rule: The rule.
        fields: The fields that it may use.

    Raises:
        ValueError: An unknown operator or unknown operands. The function raises it, too, if a value cannot be
            converted to the type of the field.
        KeyError: A field that it may not use.
    """
    if not isinstance(rule, dict) or len(rule) != 1:
        raise ValueError(f"expected a rule, an object with one operator, got {rule!r}")
    ((name, operands),) = rule.items()
    match name, operands:
        case "and", [_, *_]:
            parts = [predicate(operand, fields) for operand in operands]
            return lambda row: all(part(row) for part in parts)
        case "or", [_, *_]:
            parts = [predicate(operand, fields) for operand in operands]
            return lambda row: any(part(row) for part in parts)
        case "!", {}:
            inner = predicate(operands, fields)
            return lambda row: not inner(row)
        case "var", str(field):
            known = _known(field, fields)
            return lambda row: row[known] is not None
        case "==" | "<" | "<=" | ">" | ">=", [{"var": str(field)}, literal]:
            return _comparison(name, _known(field, fields), literal)
        case "<=", [low, {"var": str(field)}, high]:
            above = _comparison(">=", _known(field, fields), low)
            below = _comparison("<=", field, high)
            return lambda row: above(row) and below(row)
        case "in", [{"var": str(field)}, [*literals]]:
            known = _known(field, fields)
            # As in SQL, null is never in a list.
            equal = [_comparison("==", known, literal) for literal in literals if literal is not None]
            return lambda row: any(one(row) for one in equal)
        case "in", [str(piece), {"var": str(field)}]:
            known = _known(field, fields)
            return lambda row: row[known] is not None and piece in str(row[known])
    raise ValueError(f"{name} operation with {operands} arguments is not implemented")


def _known(field: str, fields: Collection[str]) -> str:
    if field not in fields:
        raise KeyError(field)
    return field


def _comparison(name: str, field: str, literal: Any) -> Predicate:
    if literal is None:
        return lambda row: name == "==" and row[field] is None
    compares = _COMPARISONS[name]
    if field.endswith("_date"):
        moment = _moment(literal)
        return lambda row: row[field] is not None and bool(compares(_moment(row[field]), moment))
    # As in CVAT, a number may be given as a string and a string as a number.
    return lambda row: row[field] is not None and bool(compares(row[field], type(row[field])(literal)))


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(str(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
