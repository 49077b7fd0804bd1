"""The bodies of a server's answers, read within bounds: one may be endless, or unpack to anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import requests

from prefect_cvat.exceptions import InvalidResponseError, ResponseTooLargeError, StorageError

__all__ = ["read_body", "read_error_text", "write_body"]

MAX_ERROR_BYTES = 2**16
"""Maximum number of bytes that are read of the body of an error."""

MAX_EXPANSION = 200
"""How many times its compressed size a body may have: JSON of annotations has 5 to 30 times."""

SMALL_BYTES = 2**22
"""Bodies of up to so many bytes are not checked against `MAX_EXPANSION`."""

_PART_BYTES = 2**16
_ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")


def read_body(response: requests.Response, max_bytes: int) -> bytes:
    """Read the body of an answer into memory.

    Raises:
        ResponseTooLargeError: It is longer, or it is compressed further than any that CVAT sends.
        InvalidResponseError: It is compressed in a way that was not asked for.
        requests.RequestException: It broke off.
    """
    return b"".join(_parts(response, max_bytes))


def write_body(response: requests.Response, file: IO[bytes], max_bytes: int) -> None:
    """Write the body of an answer to a file, in place of what is in there.

    Raises:
        StorageError: The disk does not take it.
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
    """Read the beginning of the body of an error; what is more than `MAX_ERROR_BYTES` is not read.

    Raises:
        requests.RequestException: It broke off.
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
    length = 0
    for part in response.iter_content(_PART_BYTES):
        length += len(part)
        if length > max_bytes:
            raise ResponseTooLargeError(f"{where} has more than {max_bytes} bytes; they are not read")
        if length > SMALL_BYTES and length > MAX_EXPANSION * response.raw.tell():
            raise ResponseTooLargeError(
                f"{where} unpacks to more than {MAX_EXPANSION} times its size; it is not read any further"
            )
        yield part
