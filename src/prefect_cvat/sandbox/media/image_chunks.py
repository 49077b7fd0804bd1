"""Chunks and single frames as bytes, made on demand and kept on disk."""

import io
import secrets
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_cvat.sandbox.media import images
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.storage.database import Connection, Row

_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One frame's file."""

    path: Path
    rotated: bool


def sources(state: State, db: Connection, data_id: int, frames: Sequence[int]) -> list[Source]:
    """The files of some frames, in the order of the frames."""
    folder = state.media(data_id)
    rows = db.execute(
        "SELECT number, file, rotated FROM frame WHERE data_id = ? AND number BETWEEN ? AND ?",
        (data_id, min(frames), max(frames)),
    )
    found = {row["number"]: Source(path=folder / row["file"], rotated=bool(row["rotated"])) for row in rows}
    return [found[frame] for frame in frames]


def image_chunk(frames: Sequence[Source | None], *, quality: int | None) -> bytes:
    """A zip of images, stored, whose members are named by their position in the chunk.

    Args:
        frames: The images; None for a place that only a placeholder fills.
        quality: JPEG quality of a compressed chunk, or None for the original images.
    """
    return zipped([_member(frame, quality) for frame in frames])


def zipped(members: Iterable[tuple[bytes, str]]) -> bytes:
    """A zip, stored, of images and their extensions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for position, (content, extension) in enumerate(members):
            archive.writestr(f"{position:06d}{extension}", content)
    return buffer.getvalue()


def single_frame(frame: Source, *, quality: int | None) -> tuple[bytes, str]:
    """One image and its media type."""
    content, extension = _member(frame, quality)
    return content, _TYPES.get(extension.lower(), "application/octet-stream")


def kept_or_made(folder: Path, name: str, make: Callable[[], bytes]) -> bytes:
    """A chunk from disk, or made now and kept. Also when two requests make it at once, the file is whole."""
    path = folder / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    content = make()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(8)}"
    temporary.write_bytes(content)
    temporary.replace(path)
    return content


def _member(frame: Source | None, quality: int | None) -> tuple[bytes, str]:
    if frame is None:
        return images.placeholder(), ".jpeg"
    if quality is None:
        return images.original(frame.path, rotated=frame.rotated)
    return images.compressed(frame.path, quality), ".jpeg"


def row_quality(row: Row, quality: str) -> int | None:
    """The JPEG quality that a request's `quality` means for a task's data."""
    return row["image_quality"] if quality == "compressed" else None
