"""Files that are kept under digests of what they were made from.

A file begins with a digest of its content: one that is truncated or changed is deleted and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from prefect_cvat.files.folder_permissions import apply_folder_permissions, make_folder

__all__ = ["DEFAULT_SIZE_LIMIT", "FileCache"]

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

DEFAULT_SIZE_LIMIT = 2 * 2**30
"""Maximum size of a cache in bytes; beyond it, the least recently used files are deleted."""

_DIGEST_BYTES = 32


class FileCache:
    """Files on disk, each under its key.

    Args:
        folder: The folder, in the folder of all caches; both are made when they are first needed.
        what: What a file is, in the plural, for log messages.
        size_limit: Maximum size in bytes.
    """

    def __init__(self, folder: Path, what: str, *, size_limit: int = DEFAULT_SIZE_LIMIT) -> None:
        self.folder = folder.absolute()
        self.what = what
        self.size_limit = size_limit
        self._written_since_pruning = size_limit

    def read(self, key: str, parse: Callable[[memoryview], Value]) -> Value | None:
        """What a file holds, or None. A file that cannot be used is deleted.

        Args:
            key: The name of the file.
            parse: Makes the value of the content, or raises a ValueError or a zlib.error.
        """
        path = self._path(key)
        try:
            data = memoryview(path.read_bytes())
        except OSError:
            return None
        try:
            value = parse(_content(data))
        except (ValueError, zlib.error) as error:
            logger.warning("%s %s are invalid and are made again: %s", self.what, path, str(error)[:200])
            with contextlib.suppress(OSError):  # in a shared folder it may be another user's
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # marks it as used
        return value

    def has(self, key: str) -> bool:
        """Whether there is a file, which may yet turn out to be unusable."""
        return self._path(key).exists()

    def write(self, key: str, content: bytes) -> None:
        """Store a file. If that fails, a warning is logged."""
        path = self._path(key)
        try:
            make_folder(path.parent, within=self.folder.parent)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(hashlib.sha256(content).digest())
                    file.write(content)
                    file.close()
                    apply_folder_permissions(Path(file.name))
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            logger.warning("%s cannot be kept in %s: %s", self.what, self.folder, error)
            return
        self._written_since_pruning += len(content)
        if self._written_since_pruning > self.size_limit // 20:
            self._written_since_pruning = 0
            self.prune()

    def entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files of the cache, with their sizes and times."""
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                yield path, path.stat()

    def size(self) -> tuple[int, int]:
        """The number of files, and their size in bytes."""
        sizes = [stat.st_size for _, stat in self.entries()]
        return len(sizes), sum(sizes)

    def prune(self) -> None:
        """Delete the least recently used files beyond the size limit."""
        by_age = sorted(self.entries(), key=lambda entry: entry[1].st_mtime)
        total = sum(stat.st_size for _, stat in by_age)
        for path, stat in by_age:
            if total <= self.size_limit:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size

    def clear(self) -> int:
        """Delete all files and return their number."""
        count = 0
        for path, _ in self.entries():
            path.unlink(missing_ok=True)
            count += 1
        return count

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _content(data: memoryview) -> memoryview:
    """The content of a file.

    Raises:
        ValueError: It does not have the digest at its beginning.
    """
    content = data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != data[:_DIGEST_BYTES]:
        raise ValueError("they are truncated or changed")
    return content
