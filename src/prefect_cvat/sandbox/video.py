"""Video files, read and cut with PyAV, which only this module needs (the extra `video`)."""

from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """The size of a clip's picture in pixels, and how many it has."""

    width: int
    height: int
    frames: int


def is_video(path: Path) -> bool:
    """Whether a file is a video, going by its name."""
    return path.suffix.lower() in _SUFFIXES


def inspect(path: Path) -> VideoFacts:
    """Reads what a task needs to know about a clip.

    Raises:
        ValueError: Videos are not supported.
    """
    raise ValueError(f"The sandbox cannot make a task from the video {path.name!r}")
