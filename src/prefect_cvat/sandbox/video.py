"""Video files, read and cut with PyAV, which only this module needs (the extra `video`)."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
_INDEX = ".index.json"
_FRAME_RATE = 25


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """The size of a clip's picture in pixels, and how many pictures it has."""

    width: int
    height: int
    frames: int


def is_video(path: Path) -> bool:
    """Whether a file is a video, going by its name."""
    return path.suffix.lower() in _SUFFIXES


def inspect(path: Path) -> VideoFacts:
    """Reads what a task needs to know about a clip, and keeps the times of its pictures beside it.

    Raises:
        ValueError: If PyAV is not installed, or the file is no video.
    """
    av = _pyav()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            width, height = stream.width, stream.height
            times = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
            # Some pictures of a broken clip cannot be decoded; the first one shows whether any can.
            container.seek(times[0], stream=stream)
            next(container.decode(stream))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f"Cannot read the video {path.name!r}: {error}") from error
    _index_of(path).write_text(json.dumps(times))
    return VideoFacts(width=width, height=height, frames=len(times))


def pictures(path: Path, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """Some pictures of a clip, by their numbers in it, which rise."""
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
            picture: Image.Image = frame.to_image()
            while awaited <= frame.pts:
                # A picture that could not be decoded is replaced by the next one.
                yield picture
                try:
                    awaited = next(rest)
                except StopIteration:
                    return
        raise ValueError(f"The video {path.name!r} ends early")


def clip(images: Sequence[Image.Image], *, quality: int | None) -> bytes:
    """A short MP4 of some pictures: nearly lossless, or, with a JPEG-like quality, smaller."""
    av = _pyav()
    buffer = io.BytesIO()
    width, height = images[0].size
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=_FRAME_RATE)
        stream.width, stream.height = width, height
        # Halved colour needs even sides.
        stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        factor = 17 if quality is None else round(18 + (100 - quality) / 100 * 22)
        stream.options = {"crf": str(factor), "preset": "veryfast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + _INDEX)


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            "Videos need PyAV, which is not installed: pip install 'prefect-cvat[video]'"
        ) from error
    module: ModuleType = av
    return module
