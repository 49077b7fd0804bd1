"""Gives files the permissions of their folder.

Folders that are created here are private to their user. In a folder that was created for a group, for example
with `chmod 2770`, files are shared with that group, independent of the umask.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["apply_folder_permissions", "create_file", "make_folder"]


def make_folder(folder: Path, *, within: Path) -> None:
    """Create a folder if it does not exist.

    Args:
        folder: The folder.
        within: The outermost folder of ours, `folder` itself or one above it. It is created private to its
            user; folders in it get its permissions.

    Raises:
        OSError: It cannot be created.
    """
    within.parent.mkdir(parents=True, exist_ok=True)
    within.mkdir(mode=0o700, exist_ok=True)
    for inner in [*reversed(folder.parents), folder]:
        if within in inner.parents:
            with suppress(FileExistsError):
                inner.mkdir()
                inner.chmod(stat.S_IMODE(within.stat().st_mode) & ~stat.S_ISVTX)


def create_file(path: Path) -> None:
    """Create an empty file with the permissions of its folder if it does not exist.

    Raises:
        OSError: It cannot be created.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        apply_folder_permissions(path)


def apply_folder_permissions(path: Path) -> None:
    """Give a file the permissions of its folder, except execution."""
    path.chmod(path.parent.stat().st_mode & 0o666)
