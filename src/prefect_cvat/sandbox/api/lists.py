"""Filtering, searching, sorting and paging of lists."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.json_logic import predicate
from prefect_cvat.sandbox.api.reply import ApiError, Json, Reply, bad_request

T = TypeVar("T", bound=Any)
_PAGE_SIZE = 10


def page(call: Call, rows: Sequence[T], shown: Callable[[T], Json]) -> Reply:
    """The requested page of the rows.

    Raises:
        ApiError: 404 if the page does not exist.
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


def filtered(
    call: Call, rows: Iterable[T], fields: Sequence[str], *, search: Sequence[str] = ("name",)
) -> list[T]:
    """The rows that pass the filters of a request, in the requested order.

    Args:
        call: The request, with its parameters `field=value`, `search`, `filter` (JSON logic) and `sort`.
        rows: Mappings, newest first.
        fields: The fields that may be filtered and sorted by.
        search: The fields that `search` looks at.

    Raises:
        ApiError: 400 if the filter is invalid.
    """
    kept = list(rows)
    for name in fields:
        if name in call.query:
            kept = [row for row in kept if _text(row[name]) == call.query[name]]
    if words := call.query.get("search", "").lower():
        kept = [row for row in kept if any(words in _text(row[name]).lower() for name in search)]
    if expression := call.query.get("filter"):
        kept = _filtered_by_rule(kept, expression, fields)
    for name in reversed([name for name in call.query.get("sort", "").split(",") if name]):
        key = name.removeprefix("-")
        if key in fields:
            kept.sort(key=lambda row: (row[key] is not None, row[key] or 0), reverse=name.startswith("-"))
    return kept


def _filtered_by_rule(rows: list[T], expression: str, fields: Sequence[str]) -> list[T]:
    try:
        rule = json.loads(expression)
    except ValueError as error:
        raise bad_request([f"filter: can't parse filter expression: {error}"]) from error
    try:
        passes = predicate(rule, fields)
        return [row for row in rows if passes(row)]
    except KeyError as error:
        raise bad_request([f"filter: {error} term is not supported"]) from error
    except (ValueError, TypeError) as error:
        raise bad_request([f"filter: {error}"]) from error


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
