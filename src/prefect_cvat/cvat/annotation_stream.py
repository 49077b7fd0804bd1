"""Reads the annotations of a job one at a time from a file: a job may have millions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

from prefect_cvat.cvat.response_checks.response_parsing import invalid_response
from prefect_cvat.exceptions import InvalidResponseError, ResponseTooLargeError
from prefect_cvat.http.json_stream import ItemLimits, JsonListReader

__all__ = ["ANNOTATION_LIMITS", "MAX_FILE_BYTES", "has_id", "stream_annotations"]

MAX_FILE_BYTES = 2**33
"""Maximum size of the annotations of a job in bytes: 25 million boxes."""

ANNOTATION_LIMITS = ItemLimits(
    name="annotation",
    max_bytes=24 * 2**20,  # a track of 80,000 keyframes
    max_brackets=2_000_000,
    max_commas=2_000_000,  # each number of its points takes 32 bytes of memory, and 32 more in checks
    max_rest_bytes=2**16,
)

_KINDS = ("tags", "shapes", "tracks")


def stream_annotations(file: IO[bytes], what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the annotations of a response one at a time, each with its kind: `tags`, `shapes` or `tracks`.

    The file is read once, so the kinds come in its order: CVAT sends tags, then shapes, then tracks.

    Args:
        file: The body of the response.
        what: What was requested, for errors.

    Raises:
        ResponseTooLargeError: An annotation is too large or too deeply nested.
        InvalidResponseError: The body is not what CVAT sends.
    """
    reader = JsonListReader(file, _KINDS, ANNOTATION_LIMITS, skip_others=True)
    is_empty = True
    try:
        for kind, annotations in reader.items():
            is_empty = False
            for annotation in annotations:
                yield kind, _check_id(kind, annotation, what)
        rest = reader.rest()
    except ResponseTooLargeError as error:
        raise ResponseTooLargeError(f"the server's answer for {what} is not read: {error}") from None
    except InvalidResponseError:
        raise
    except ValueError as error:
        raise invalid_response(what, str(error)) from None
    # other JSON must not be mistaken for a job without annotations
    if is_empty and not (isinstance(rest, dict) and all(rest.get(kind) == [] for kind in _KINDS)):
        raise invalid_response(what, "tags, shapes and tracks are not lists of annotations")


def _check_id(kind: str, annotation: Any, what: str) -> dict[str, Any]:
    if not isinstance(annotation, dict) or not has_id(annotation):
        raise InvalidResponseError(f"{what}: among the {kind} is one without an id")
    return annotation


def has_id(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation has an id that a database can hold."""
    number = annotation.get("id")
    return type(number) is int and abs(number) < 2**63
