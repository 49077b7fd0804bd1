"""Opens the files of a preview: images, folders of images, or a video."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import PIL.Image

from prefect_cvat.cli.console import stderr
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import Frame
from prefect_cvat.media.video_file import VIDEO_FORMATS, read_video_frames
from prefect_cvat.rendering.preview import open_image_files

__all__ = ["open_files"]

FRAMES_SHOWN = 4
"""Number of frames of a video or a task to show by default."""

IMAGES_SHOWN = 100
"""Maximum number of images to show by default."""

_IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def open_files(
    files: Sequence[Path], numbers: Collection[int] | None
) -> tuple[Iterator[tuple[Frame, PIL.Image.Image]], int]:
    """Open images, or frames of a video, one after the other; return also how many there are, at most.

    Args:
        files: Images and folders of images; or one video.
        numbers: The numbers of the images, or of the frames of the video, from 0; None for the first ones.

    Raises:
        BadParameter: There is a video beside other files, or no image of a given number.
        MediaError: A file is missing or cannot be read, or a folder has no images.
    """
    if any(path.suffix.lower() in VIDEO_FORMATS and not path.is_dir() for path in files):
        if len(files) > 1:
            raise click.BadParameter("give images and folders of images, or one video")
        frames = read_video_frames(files[0], numbers)
        return (islice(frames, FRAMES_SHOWN), FRAMES_SHOWN) if numbers is None else (frames, len(numbers))
    images = [image for path in files for image in _images_in(path)]
    if numbers is None:
        if len(images) > IMAGES_SHOWN:
            stderr.print(
                f"the first {IMAGES_SHOWN} of {len(images)} images are shown; select others with --frames",
                markup=False,
            )
        numbers = range(min(len(images), IMAGES_SHOWN))
    if (missing := max(numbers, default=0)) >= len(images):
        raise click.BadParameter(f"--frames has {missing}, but the images are 0-{len(images) - 1}")
    return open_image_files({number: images[number] for number in numbers}), len(numbers)


def _images_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES)
    if not images:
        raise MediaError(f"folder {str(path)!r} has no images ({', '.join(sorted(_IMAGE_SUFFIXES))})")
    return images
