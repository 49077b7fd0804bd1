"""The files of an ONNX model: the model itself, and the files beside it in which it may keep its weights."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from prefect_cvat.exceptions import BadFunctionError

__all__ = ["digest_of_files", "external_data_files"]

# The fields of onnx.proto that lead to the names of files, by message and number of the field. The
# package `onnx` is not needed for them; ONNX Runtime does not bring it.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Function": {7: "Node"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_KEY, _VALUE = 1, 2  # of an entry

_MAX_DEPTH = 64


def external_data_files(model: Path) -> list[Path]:
    """The files beside a model in which it keeps weights, such as `model.onnx.data`.

    Raises:
        BadFunctionError: The model is not an ONNX file.
        FileNotFoundError: A file is missing.
    """
    try:
        with model.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        names = sorted(set(_locations(content, "Model")))
    except ValueError:  # also of mmap, for an empty file
        raise BadFunctionError(
            f"{str(model)!r} is not an ONNX file; export the model to ONNX first"
        ) from None
    files = [model.parent / name for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{str(model)!r} keeps weights in {', '.join(map(repr, missing))}, which must be in the same"
            " folder: copy it there, or export again with the weights in one file"
        )
    return files


def digest_of_files(files: list[Path]) -> str:
    """A digest of the content of files."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _locations(message: memoryview, kind: str, depth: int = 0) -> Iterator[str]:
    """Yield the names of files in a message.

    Raises:
        ValueError: It is not such a message.
    """
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    for number, value in _fields(message):
        inner = _FIELDS[kind].get(number)
        if inner == "Entry":
            entry = {key: bytes(text) for key, text in _fields(value)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode()
        elif inner is not None:
            yield from _locations(value, inner, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field of a message that has a length."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        match tag & 7:  # the wire type
            case 0:
                _, place = _varint(message, place)
            case 1:
                place += 8
            case 5:
                place += 4
            case 2:
                length, place = _varint(message, place)
                if place + length > len(message):
                    raise ValueError("a field is longer than its message")
                yield tag >> 3, message[place : place + length]
                place += length
            case _:
                raise ValueError("an unknown type of field")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read a number of variable length; return it and the place behind it."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number has no end")
