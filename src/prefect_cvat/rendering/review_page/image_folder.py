"""The folder beside a page with the images of its frames."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes

from prefect_cvat.exceptions import StorageError

__all__ = ["MAX_EMBEDDED", "ImageFolder", "check_image_folder"]

MAX_EMBEDDED = 200
"""A page with at most this many frames contains their images; one with more has thumbnails, and the images
are in a folder beside it."""

MARKER = ".prefect-cvat-page"
"""A file in folders of images: what else looks like one is not touched."""


class ImageFolder:
    """The folder of a page, such as `review_images` of `review.html`.

    Args:
        page: The file of the page.
    """

    def __init__(self, page: Path) -> None:
        self.path = page.with_name(f"{page.stem}_images")

    def check(self) -> None:
        """Check that the folder is of an earlier page, empty, or not there.

        Raises:
            StorageError: There is something else.
        """
        try:
            is_free = not os.path.lexists(self.path) or self._is_ours() or not any(self.path.iterdir())
        except OSError as error:
            raise StorageError(f"{str(self.path)!r} cannot be read: {error.strerror}") from error
        if not is_free:
            raise StorageError(
                f"{str(self.path)!r} is where the images of the page go, but no page of prefect-cvat has"
                " written what is in there: move it, or give the page another name"
            )

    def prepare(self) -> None:
        """Make the folder, and remove the images of an earlier page.

        Raises:
            StorageError: There is something else, or the folder cannot be written.
        """
        self.check()
        self._remove_images()
        try:
            self.path.mkdir(exist_ok=True)
            (self.path / MARKER).touch()
        except OSError as error:
            raise StorageError(f"{str(self.path)!r} cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the images of an earlier page, and the folder if nothing else is in it.

        Raises:
            StorageError: They cannot be removed.
        """
        if not self._is_ours():
            return
        self._remove_images()
        try:
            if [each.name for each in self.path.iterdir()] == [MARKER]:
                (self.path / MARKER).unlink()
                self.path.rmdir()
        except OSError as error:
            raise StorageError(f"{str(self.path)!r} cannot be removed: {error.strerror}") from error

    def write(self, number: int, jpeg: bytes) -> str:
        """Write the image of a frame.

        Returns:
            Its address, relative to the page.

        Raises:
            StorageError: It cannot be written.
        """
        file = self.path / f"{number:06}.jpg"
        try:
            file.write_bytes(jpeg)
        except OSError as error:
            raise StorageError(f"{str(file)!r} cannot be written: {error.strerror}") from error
        return f"{quote_from_bytes(os.fsencode(self.path.name), safe='')}/{file.name}"

    def _is_ours(self) -> bool:
        return (self.path / MARKER).is_file()

    def _remove_images(self) -> None:
        try:
            for file in self.path.glob("*.jpg"):
                if file.stem.isdecimal():
                    file.unlink()
        except OSError as error:
            raise StorageError(f"{str(self.path)!r} cannot be written: {error.strerror}") from error


def check_image_folder(page: Path, max_frames: int) -> None:
    """Check that a page with so many frames can have its folder, before anything is done.

    Raises:
        StorageError: It cannot; see `ImageFolder.check`.
    """
    if max_frames > MAX_EMBEDDED:
        ImageFolder(page).check()
