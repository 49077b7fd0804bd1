"""The folder beside a page with the images of its frames."""

from __future__ import annotations

import errno
import os
import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote_from_bytes

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.output_file import check_writable

__all__ = ["MAX_EMBEDDED", "ImageFolder", "check_page"]

MAX_EMBEDDED = 200
"""A page with at most this many frames contains their images; one with more has thumbnails, and the images
are in a folder beside it."""

MARKER = ".prefect-cvat-page"
"""A file in folders of images, with the name of the page (empty in those of an earlier version): what else
looks like one is not touched."""

_IMAGE = re.compile(r"[0-9]{6,}-[0-9a-f]{16}\.jpg")
"""The name of an image: the number of the frame, and the start of the SHA-256 of the file. So an image of
another page never has its name, and an earlier page keeps its images until the new one is written."""


_MEND = "move it, or give the page another name"


class ImageFolder:
    """The folder of a page, such as `review_images` of `review.html`.

    Args:
        page: The file of the page.
    """

    def __init__(self, page: Path) -> None:
        self.path = page.with_name(f"{page.stem}_images")
        self._page = page.name

    def check(self) -> None:
        """Check that the folder is of an earlier page of this name, empty, or not there.

        Raises:
            StorageError: There is something else, or its name is too long.
        """
        try:
            why = self._why_not()
        except OSError as error:
            why = f"it cannot be read ({error.strerror}): {_MEND}"
        if why:
            raise StorageError(f"{str(self.path)!r} is where the images of the page go, but {why}")

    def _why_not(self) -> str:
        try:
            self.path.lstat()
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            size = len(os.fsencode(self.path.name))
            return f"this name is too long, {size} bytes: give the page a shorter name"
        if self.path.is_symlink():  # other pages may use the folder that it leads to
            target = str(self.path.readlink())
            return f"it is a link to {target!r}: remove the link, or write the page where there is room"
        if not self.path.is_dir():
            return f"it is not a folder: {_MEND}"
        if self._is_ours() or not any(self.path.iterdir()):
            return ""
        if (other := self._marked_page()) is not None:
            return (
                f"it has the images of the page {other!r}: give this page another name, or remove that page"
                " and the folder"
            )
        return f"no page of prefect-cvat has written what is in there: {_MEND}"

    def prepare(self) -> None:
        """Make the folder. What is in it stays.

        Raises:
            StorageError: There is something else, or the folder cannot be written.
        """
        self.check()
        try:
            self.path.mkdir(exist_ok=True)
            (self.path / MARKER).write_bytes(os.fsencode(self._page))
        except OSError as error:
            raise StorageError(f"{str(self.path)!r} cannot be written: {error.strerror}") from error

    def remove_unused(self, html: str) -> None:
        """Remove the images that a page does not name, and the folder if nothing else is in it.

        Args:
            html: The page, which is written.

        Raises:
            StorageError: They cannot be removed.
        """
        used = set(_IMAGE.findall(html))
        try:
            if not self._is_ours():
                return
            for file in list(self.path.iterdir()):
                if _IMAGE.fullmatch(file.name) and file.name not in used:
                    file.unlink()
            if [each.name for each in self.path.iterdir()] == [MARKER]:
                (self.path / MARKER).unlink()
                self.path.rmdir()
        except OSError as error:
            raise StorageError(
                f"images of an earlier page in {str(self.path)!r} cannot be removed: {error.strerror}"
            ) from error

    def write(self, number: int, jpeg: bytes) -> str:
        """Write the image of a frame.

        Returns:
            Its address, relative to the page.

        Raises:
            StorageError: It cannot be written.
        """
        file = self.path / f"{number:06}-{sha256(jpeg).hexdigest()[:16]}.jpg"
        try:
            if not file.exists() or file.stat().st_size != len(jpeg):  # else an earlier page may show it
                file.write_bytes(jpeg)
        except OSError as error:
            raise StorageError(f"{str(file)!r} cannot be written: {error.strerror}") from error
        return f"{quote_from_bytes(os.fsencode(self.path.name), safe='')}/{file.name}"

    def _is_ours(self) -> bool:
        return self._marked_page() in ("", self._page) and not self.path.is_symlink()

    def _marked_page(self) -> str | None:
        """The name of the page that has written the folder, see `MARKER`; None if no page has."""
        marker = self.path / MARKER
        if not os.path.isfile(marker):  # noqa: PTH113 (a Path raises if its name is too long)
            return None
        return os.fsdecode(marker.read_bytes())


def check_page(page: Path, max_frames: int) -> None:
    """Check that a page with so many frames can be written, and its folder, before anything is done.

    Raises:
        StorageError: It cannot; see `check_writable` and `ImageFolder.check`.
    """
    check_writable(page)
    if max_frames > MAX_EMBEDDED:
        ImageFolder(page).check()
