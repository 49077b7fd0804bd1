"""Chunks and single frames of image tasks."""

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
class FrameFile:
    """The file of a frame.

    Attributes:
        path: The file.
        rotated: Whether EXIF rotates or mirrors the image.
    """

    path: Path
    rotated: bool


def frame_files(state: State, db: Connection, data_id: int, frames: Sequence[int]) -> list[FrameFile]:
    """The files of frames, in the order of `frames`."""
    folder = state.media(data_id)
    rows = db.execute(
        "SELECT number, file, rotated FROM frame WHERE data_id = ? AND number BETWEEN ? AND ?",
        (data_id, min(frames), max(frames)),
    )
    found = {
        row["number"]: FrameFile(path=folder / row["file"], rotated=bool(row["rotated"])) for row in rows
    }
    return [found[frame] for frame in frames]


def image_chunk(frames: Sequence[FrameFile | None], *, quality: int | None) -> bytes:
    """Build an uncompressed zip of images, named by their position in the chunk.

    Args:
        frames: The images; None for a placeholder.
        quality: JPEG quality of a compressed chunk; None for the original images.
    """
    return zipped([_member(frame, quality) for frame in frames])


def zipped(members: Iterable[tuple[bytes, str]]) -> bytes:
    """Build an uncompressed zip of images, given with their file extensions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for position, (content, extension) in enumerate(members):
            archive.writestr(f"{position:06d}{extension}", content)
    return buffer.getvalue()


def single_frame(frame: FrameFile, *, quality: int | None) -> tuple[bytes, str]:
    """Return one image and its media type."""
    content, extension = _member(frame, quality)
    return content, _TYPES.get(extension.lower(), "application/octet-stream")


def count_pixels(db: Connection, task: Row, frames: Sequence[int]) -> int:
    """Count the pixels of frames of a task; the one frame of a video stands for all."""
    if task["mode"] == "interpolation":
        row = db.execute("SELECT width, height FROM frame WHERE data_id = ?", (task["data_id"],)).fetchone()
        return len(frames) * int(row["width"] * row["height"])
    rows = db.execute(
        "SELECT number, width * height AS pixels FROM frame WHERE data_id = ? AND number BETWEEN ? AND ?",
        (task["data_id"], min(frames), max(frames)),
    )
    asked = set(frames)
    return sum(row["pixels"] for row in rows if row["number"] in asked)


def cached_chunk(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a chunk from disk, or make and store it. Two requests may make it at the same time."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    content = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    temporary.write_bytes(content)
    temporary.replace(path)
    return content


def _member(frame: FrameFile | None, quality: int | None) -> tuple[bytes, str]:
    if frame is None:
        return images.placeholder(), ".jpeg"
    if quality is None:
        return images.original(frame.path, rotated=frame.rotated)
    return images.compressed(frame.path, quality), ".jpeg"


def row_quality(row: Row, quality: str) -> int | None:
    """JPEG quality for the query parameter `quality`; None for original quality."""
    return row["image_quality"] if quality == "compressed" else None
