"""Reads and writes video files with PyAV (the extra `video`)."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
_INDEX = ".index.json"
_FRAME_RATE = 25
_MAX_COMPRESSED_HEIGHT = 1080
_ROTATIONS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """Size of the upright frames of a video in pixels, and their number."""

    width: int
    height: int
    frames: int


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its extension."""
    return path.suffix.lower() in _SUFFIXES


def inspect(path: Path) -> VideoFacts:
    """Read size and length of a video, and store the times of its frames in a file beside it.

    Raises:
        ValueError: PyAV is not installed, or the file is not a readable video.
    """
    av = _pyav()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
            # Frames of a damaged video may fail to decode; the first one shows whether any can be decoded.
            container.seek(times[0], stream=stream)
            width, height = _upright(next(container.decode(stream))).size
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f"Cannot read the video {path.name!r}: {error}") from error
    _index_of(path).write_text(json.dumps(times))
    return VideoFacts(width=width, height=height, frames=len(times))


def video_frames(path: Path, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """Decode frames of a video, upright, by their numbers in ascending order."""
    av = _pyav()
    times: list[int] = json.loads(_index_of(path).read_text())
    wanted = [times[number] for number in numbers]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(wanted[0], stream=stream)
        rest = iter(wanted)
        awaited = next(rest)
        for frame in container.decode(stream):
            if frame.pts is None or frame.pts < awaited:
                continue
            image = _upright(frame)
            while awaited <= frame.pts:
                # A frame that cannot be decoded is replaced by the next one.
                yield image
                try:
                    awaited = next(rest)
                except StopIteration:
                    return
        raise ValueError(f"The video {path.name!r} ends early")


def encode_video(images: Iterable[Image.Image], *, quality: int | None) -> bytes:
    """Encode images as an MP4: nearly lossless, or with a JPEG-like quality.

    As in CVAT 2.73, sides are stretched to even numbers for 4:2:0 color. With a quality, images are halved
    until they have fewer than 1080 rows.
    """
    av = _pyav()
    buffer = io.BytesIO()
    stream: Any = None
    with av.open(buffer, "w", format="mp4") as container:
        for image in images:
            if stream is None:
                width, height = image.size
                while quality is not None and height >= _MAX_COMPRESSED_HEIGHT:
                    width, height = width // 2, height // 2
                stream = container.add_stream("libx264", rate=_FRAME_RATE)
                stream.width, stream.height = width + width % 2, height + height % 2
                stream.pix_fmt = "yuv420p"
                factor = 17 if quality is None else round(18 + (100 - quality) / 100 * 22)
                stream.options = {"crf": str(factor), "preset": "veryfast"}
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    rotation = frame.rotation % 360
    return image.transpose(_ROTATIONS[rotation]) if rotation in _ROTATIONS else image


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + _INDEX)


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f'Videos need PyAV, which cannot be imported ({error}): pip install "prefect-cvat[video]"'
        ) from error
    module: ModuleType = av
    return module
