"""The annotations of a job, read one by one from a file: a job may have millions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import IO, Any

import ijson
from pydantic_core import from_json

from prefect_cvat.cvat.response_models import not_from_cvat
from prefect_cvat.exceptions import AnswerTooLargeError, InvalidResponseError
from prefect_cvat.http.json_limits import check_annotations

__all__ = ["MOST_FILE_BYTES", "has_id", "stream_annotations"]

MOST_FILE_BYTES = 2**33
"""Maximum size of the annotations of a job in bytes: 25 million boxes."""

_READ_BYTES = 2**14
"""What is given to the parser at a time: it takes 10 % less than with its own default of 64 KiB."""

_MOST_EMPTY_BYTES = 2**16
"""Maximum size of an answer without annotations in bytes; CVAT's has 60."""


def stream_annotations(file: IO[bytes], what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The annotations of an answer one by one, each with the name of its kind: tags, shapes, then tracks.

    Args:
        file: The answer.
        what: What it is, for errors.

    Raises:
        AnswerTooLargeError: One annotation is larger, or nested deeper, than is read.
        InvalidResponseError: It is not what CVAT sends.
    """
    try:
        check_annotations(file)
    except AnswerTooLargeError as error:
        raise AnswerTooLargeError(f"the server's answer for {what} is not read: {error}") from None
    is_empty = True
    try:
        ends = _both_ends(file)
        for kind in ("tags", "shapes", "tracks"):
            if f'"{kind}":[]'.encode() in ends:
                continue  # each pass takes time, and most jobs have one kind only
            file.seek(0)
            for annotation in ijson.items(file, f"{kind}.item", use_float=True, buf_size=_READ_BYTES):
                if not isinstance(annotation, dict) or not has_id(annotation):
                    raise InvalidResponseError(f"{what}: among the {kind} is one without an id")
                is_empty = False
                yield kind, annotation
    except ijson.JSONError as error:
        raise not_from_cvat(what, str(error)) from None
    if is_empty:  # some other JSON must not be taken for a job without annotations
        _check_no_annotations(file, what)


def has_id(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation has an id, a number that a database has room for."""
    number = annotation.get("id")
    return type(number) is int and abs(number) < 2**63


def _check_no_annotations(file: IO[bytes], what: str) -> None:
    file.seek(0)
    content = file.read(_MOST_EMPTY_BYTES + 1)
    if len(content) > _MOST_EMPTY_BYTES:
        raise not_from_cvat(what, f"more than {_MOST_EMPTY_BYTES} bytes, and no annotation among them")
    try:
        answer = from_json(content)
    except ValueError as error:
        raise not_from_cvat(what, str(error)) from None
    if not isinstance(answer, dict) or any(answer.get(kind) != [] for kind in ("tags", "shapes", "tracks")):
        raise not_from_cvat(what, "tags, shapes and tracks are not lists of annotations")


def _both_ends(file: IO[bytes], length: int = 256) -> bytes:
    """The first bytes and the last ones of a file, without blanks."""
    file.seek(0)
    first = file.read(length)
    file.seek(max(0, file.seek(0, os.SEEK_END) - length))
    return b"\0".join((first, file.read())).replace(b" ", b"")
