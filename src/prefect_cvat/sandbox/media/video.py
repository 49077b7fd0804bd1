"""Video files, read and cut with PyAV, which only this module needs (the extra `video`)."""

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
_TALL = 1080
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """The size of a clip's upright picture in pixels, and how many pictures it has."""

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
            times = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
            # Some pictures of a broken clip cannot be decoded; the first one shows whether any can.
            container.seek(times[0], stream=stream)
            width, height = _upright(next(container.decode(stream))).size
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f"Cannot read the video {path.name!r}: {error}") from error
    _index_of(path).write_text(json.dumps(times))
    return VideoFacts(width=width, height=height, frames=len(times))


def pictures(path: Path, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """Some pictures of a clip, by their numbers in it, which rise. They stand upright."""
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
            picture = _upright(frame)
            while awaited <= frame.pts:
                # A picture that could not be decoded is replaced by the next one.
                yield picture
                try:
                    awaited = next(rest)
                except StopIteration:
                    return
        raise ValueError(f"The video {path.name!r} ends early")


def clip(images: Iterable[Image.Image], *, quality: int | None) -> bytes:
    """A short MP4 of some pictures: nearly lossless, or, with a JPEG-like quality, smaller.

    CVAT 2.73: halved colour needs even sides, so pictures are stretched to them; in the smaller ones sides
    are halved until there are fewer than 1080 rows.
    """
    av = _pyav()
    buffer = io.BytesIO()
    stream: Any = None
    with av.open(buffer, "w", format="mp4") as container:
        for image in images:
            if stream is None:
                width, height = image.size
                while quality is not None and height >= _TALL:
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
    turn = frame.rotation % 360
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


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
