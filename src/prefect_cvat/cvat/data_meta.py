"""Reads `data/meta` of a task or a job in blocks: it has about 100 MB for a million frames."""

from __future__ import annotations

from typing import IO, Any

from prefect_cvat.exceptions import ResponseTooLargeError
from prefect_cvat.frame_table import MAX_FRAMES, FrameTable
from prefect_cvat.http.json_stream import ItemLimits, JsonListReader

__all__ = ["read_meta_json"]

_NUMBER_LISTS = ("deleted_frames", "included_frames")
"""Lists of frame numbers, at most one for each frame."""

_LIMITS = ItemLimits(
    name="frame",
    max_bytes=1_000_000,
    max_brackets=1_000_000,
    max_commas=1_000_000,
    max_rest_bytes=1_000_000,  # CVAT's has about 300
)


def read_meta_json(file: IO[bytes]) -> Any:
    """Read the JSON of `data/meta`.

    Args:
        file: The JSON.

    Returns:
        The parsed JSON, with the list `frames` as a `FrameTable`.

    Raises:
        ValueError: It is not JSON, or not what CVAT sends; the message names the field.
    """
    reader = JsonListReader(file, ("frames", *_NUMBER_LISTS), _LIMITS)
    frames = FrameTable()
    numbers: dict[str, list[int]] = {}
    for key, items in reader.items():
        if key == "frames":
            if len(frames) + len(items) > MAX_FRAMES:
                raise ResponseTooLargeError(f"frames: there are more than {MAX_FRAMES} frames")
            for frame in items:
                frames.append_object(frame)
        else:
            _extend(numbers.setdefault(key, []), items, key)
    meta = reader.rest()
    if isinstance(meta, dict):
        if meta.get("frames") == []:
            meta["frames"] = frames
        meta.update({key: found for key, found in numbers.items() if meta.get(key) == []})
    return meta


def _extend(numbers: list[int], items: list[Any], key: str) -> None:
    if len(numbers) + len(items) > MAX_FRAMES:
        raise ResponseTooLargeError(f"{key}: there are more than {MAX_FRAMES} numbers")
    for number in items:
        if type(number) is not int:
            raise ValueError(f"{key}.{len(numbers)}: should be a number, not {type(number).__name__}")
        numbers.append(number)
