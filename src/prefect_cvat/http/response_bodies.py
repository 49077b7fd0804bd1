"""Reads bodies of responses within limits: one may be endless, or expand without bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import requests

from prefect_cvat.exceptions import InvalidResponseError, ResponseTooLargeError, StorageError

__all__ = ["read_body", "read_error_text", "write_body"]

MAX_ERROR_BYTES = 2**16
"""Maximum number of bytes that are read of an error's body."""

MAX_EXPANSION = 200
"""Maximum ratio of a body to its compressed size: JSON of annotations has 5 to 30."""

SMALL_BYTES = 2**22
"""Bodies up to this size in bytes are not checked for `MAX_EXPANSION`."""

_PART_BYTES = 2**16
"""Bytes of a compressed body that are read at a time: they may expand a thousandfold."""

_PLAIN_PART_BYTES = 2**18
"""Bytes of a body as it is that are read at a time: larger parts take a fifth less time of the processor."""

_ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")


def read_body(response: requests.Response, max_bytes: int) -> bytes:
    """Read a body into memory.

    Raises:
        ResponseTooLargeError: It is larger, or expands more than any body that CVAT sends.
        InvalidResponseError: It has an encoding that was not requested.
        requests.RequestException: The connection broke within the body.
    """
    return b"".join(_parts(response, max_bytes))


def write_body(response: requests.Response, file: IO[bytes], max_bytes: int) -> None:
    """Write a body to a file, in place of its content.

    Raises:
        StorageError: The file cannot be written.
        And what `read_body` raises.
    """
    if file.tell():  # this is not the first attempt
        file.seek(0)
        file.truncate()
    for part in _parts(response, max_bytes):
        try:
            file.write(part)
        except OSError as error:
            raise StorageError(f"the answer to GET {response.url} cannot be written: {error}") from error
    try:
        file.flush()
    except OSError as error:
        raise StorageError(f"the answer to GET {response.url} cannot be written: {error}") from error


def read_error_text(response: requests.Response) -> str:
    """Read the body of an error, up to `MAX_ERROR_BYTES`.

    Raises:
        requests.RequestException: The connection broke within the body.
    """
    begin = b""
    if response.headers.get("Content-Encoding", "").strip().lower() in _ENCODINGS:
        for part in response.iter_content(_PART_BYTES):
            begin += part
            if len(begin) >= MAX_ERROR_BYTES:
                break
    return begin[:MAX_ERROR_BYTES].decode(errors="replace")


def _parts(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    where = f"the answer to {response.request.method} {response.url}"
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise InvalidResponseError(f"{where} is encoded as {encoding!r}, which was not asked for")
    is_plain = encoding in ("", "identity")
    length = 0
    for part in response.iter_content(_PLAIN_PART_BYTES if is_plain else _PART_BYTES):
        length += len(part)
        if length > max_bytes:
            raise ResponseTooLargeError(f"{where} has more than {max_bytes} bytes; they are not read")
        if length > SMALL_BYTES and length > MAX_EXPANSION * response.raw.tell():
            raise ResponseTooLargeError(
                f"{where} unpacks to more than {MAX_EXPANSION} times its size; it is not read any further"
            )
        yield part
