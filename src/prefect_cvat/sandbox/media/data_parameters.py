"""The parameters of an upload."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect_cvat.sandbox.api.reply import Json, bad_request

_SORTING_METHODS = ("lexicographical", "natural", "predefined", "random")
_STEP = re.compile(r"step\s*=\s*([1-9]\d*)")


@dataclass(frozen=True, kw_only=True)
class DataParameters:
    """The parameters that finish an upload.

    Attributes:
        image_quality: JPEG quality of compressed chunks, 1 to 100.
        chunk_size: Frames in a chunk; None for the default.
        start_frame: First image or video frame that is used.
        stop_frame: Last image or video frame that is used; None for no limit.
        frame_filter: "" or "step=N".
        sorting_method: The order of the images.
        upload_file_order: File names in order, for `predefined`.
        use_zip_chunks: Whether compressed chunks of a video are images.
        validation: Parameters of the ground truth job, or None.
    """

    image_quality: int = 70
    chunk_size: int | None = None
    start_frame: int = 0
    stop_frame: int | None = None
    frame_filter: str = ""
    sorting_method: str = "lexicographical"
    upload_file_order: tuple[str, ...] = ()
    use_zip_chunks: bool = False
    validation: Json | None = None

    @classmethod
    def from_body(cls, body: Json) -> "DataParameters":
        """Parse the parameters. In a form they are all strings.

        Raises:
            ApiError: 400 if one is missing or invalid.
        """
        quality = _number(body, "image_quality", low=1, high=100)
        if quality is None:
            raise bad_request({"image_quality": ["This field is required."]})
        frame_filter = str(body.get("frame_filter") or "")
        if frame_filter and not _STEP.fullmatch(frame_filter.strip()):
            raise bad_request({"frame_filter": ["Invalid frame filter, expected step=N"]})
        sorting = str(body.get("sorting_method") or "lexicographical")
        if sorting not in _SORTING_METHODS:
            raise bad_request({"sorting_method": [f'"{sorting}" is not a valid choice.']})
        validation = body.get("validation_params") or None
        if validation is not None and validation.get("mode") not in ("gt", "gt_pool"):
            raise bad_request(
                {"validation_params": {"mode": [f'"{validation.get("mode")}" is not a valid choice.']}}
            )
        if validation is not None and validation["mode"] == "gt_pool" and sorting != "random":
            raise bad_request(
                {"sorting_method": ['validation mode "gt_pool" can only be used with "random" sorting']}
            )
        return cls(
            image_quality=quality,
            chunk_size=_number(body, "chunk_size", low=0) or None,
            start_frame=_number(body, "start_frame", low=0) or 0,
            stop_frame=_number(body, "stop_frame", low=0),
            frame_filter=frame_filter,
            sorting_method=sorting,
            upload_file_order=tuple(body.get("upload_file_order") or ()),
            use_zip_chunks=body.get("use_zip_chunks") in (True, "true", "True", "1"),
            validation=validation,
        )

    @property
    def step(self) -> int:
        """Step between used frames."""
        return step_of(self.frame_filter)


def step_of(frame_filter: str) -> int:
    """The N of a frame filter "step=N", or 1."""
    match = _STEP.fullmatch(frame_filter.strip())
    return int(match[1]) if match else 1


def sorted_names(
    names: list[str], parameters: DataParameters, shuffle: Callable[[list[str]], None]
) -> list[str]:
    """Sort the names of the images as the parameters say.

    Raises:
        ValueError: The predefined order does not match the uploaded files.
    """
    ordered = sorted(names)
    match parameters.sorting_method:
        case "natural":
            ordered.sort(key=_natural)
        case "random":
            shuffle(ordered)
        case "predefined" if parameters.upload_file_order:
            if sorted(parameters.upload_file_order) != ordered:
                raise ValueError("upload_file_order does not match the uploaded files")
            return list(parameters.upload_file_order)
        case "predefined":
            return names
    return ordered


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def _number(body: Json, name: str, *, low: int, high: int | None = None) -> int | None:
    value: Any = body.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise bad_request({name: ["A valid integer is required."]}) from None
    if number < low:
        raise bad_request({name: [f"Ensure this value is greater than or equal to {low}."]})
    if high is not None and number > high:
        raise bad_request({name: [f"Ensure this value is less than or equal to {high}."]})
    return number
