"""Lists: filters, search, order and pages."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import urlencode

from prefect_cvat.sandbox.exchange import ApiError, Call, Json, Reply, bad_request

T = TypeVar("T", bound=Any)
_PAGE_SIZE = 10


def page(call: Call, rows: Sequence[T], shown: Callable[[T], Json]) -> Reply:
    """The page that a request asks for, out of all the rows.

    Raises:
        ApiError: 404 for a page that does not exist.
    """
    size = _page_size(call.query.get("page_size"), len(rows))
    try:
        number = int(call.query.get("page", "1"))
    except ValueError:
        number = 0
    last = max(1, -(-len(rows) // size))
    if not 1 <= number <= last:
        raise ApiError(404, {"detail": "Invalid page."})
    results = [shown(row) for row in rows[(number - 1) * size : number * size]]
    return Reply(
        json={
            "count": len(rows),
            "next": _address(call, number + 1) if number < last else None,
            "previous": _address(call, number - 1) if number > 1 else None,
            "results": results,
        }
    )


def narrowed(
    call: Call, rows: Iterable[T], fields: Sequence[str], *, search: Sequence[str] = ("name",)
) -> list[T]:
    """The rows that pass a request's filters, in the order that it asks for.

    Args:
        call: The request: `field=value`, `search=`, `filter=` (JSON logic) and `sort=` count.
        rows: Mappings, newest first.
        fields: What may be filtered and sorted by.
        search: Where `search` looks.

    Raises:
        ApiError: 400 for a filter that cannot be read.
    """
    kept = list(rows)
    for name in fields:
        if name in call.query:
            kept = [row for row in kept if _text(row[name]) == call.query[name]]
    if words := call.query.get("search", "").lower():
        kept = [row for row in kept if any(words in _text(row[name]).lower() for name in search)]
    if expression := call.query.get("filter"):
        kept = _filtered(kept, expression, fields)
    for name in reversed([name for name in call.query.get("sort", "").split(",") if name]):
        key = name.removeprefix("-")
        if key in fields:
            kept.sort(key=lambda row: (row[key] is not None, row[key] or 0), reverse=name.startswith("-"))
    return kept


def matches(rule: Any, row: Mapping[str, Any]) -> Any:
    """Evaluates a JSON-logic rule on a row.

    Raises:
        ValueError: For an operator or a shape that is not known.
        KeyError: For a variable that the row does not have.
    """
    if not isinstance(rule, dict):
        return rule
    if len(rule) != 1:
        raise ValueError("a rule has one operator")
    ((operator, operands),) = rule.items()
    if operator == "var":
        return row[operands]
    values = [matches(operand, row) for operand in (operands if isinstance(operands, list) else [operands])]
    match operator:
        case "and":
            return all(values)
        case "or":
            return any(values)
        case "!":
            return not values[0]
        case "!!":
            return bool(values[0])
        case "==":
            return values[0] == values[1]
        case "!=":
            return values[0] != values[1]
        case "in":
            return values[0] is not None and values[0] in values[1]
        case "<" | "<=" | ">" | ">=":
            return _in_order(operator, values)
    raise ValueError(f"unknown operator {operator!r}")


def _in_order(operator: str, values: list[Any]) -> bool:
    if None in values:
        return False
    pairs = pairwise(values)
    match operator:
        case "<":
            return all(a < b for a, b in pairs)
        case "<=":
            return all(a <= b for a, b in pairs)
        case ">":
            return all(a > b for a, b in pairs)
    return all(a >= b for a, b in pairs)


def _filtered(rows: list[T], expression: str, fields: Sequence[str]) -> list[T]:
    try:
        rule = json.loads(expression)
    except ValueError as error:
        raise bad_request([f"filter: can't parse filter expression: {error}"]) from error
    try:
        return [row for row in rows if matches(rule, {name: row[name] for name in fields})]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise bad_request([f"filter: can't evaluate filter expression: {error}"]) from error


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _page_size(asked: str | None, count: int) -> int:
    if asked == "all":
        return max(1, count)
    try:
        size = int(asked or 0)
    except ValueError:
        size = 0
    return size if size > 0 else _PAGE_SIZE


def _address(call: Call, number: int) -> str:
    parameters = [(name, value) for name, value in call.query.multi_items() if name != "page"]
    if number > 1:
        parameters.append(("page", str(number)))
    query = urlencode(sorted(parameters))
    return f"{call.base_url}{call.path}" + (f"?{query}" if query else "")
