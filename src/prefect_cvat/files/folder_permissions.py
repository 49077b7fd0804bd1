"""Who may read and write what lies in the folders of this package: whoever may read and write the folder.

A folder that is made here is for its user only. One that somebody has made for a group (`chmod 2770`, say)
is shared by that group with all that is in it, whatever the umask of whoever writes a file.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["apply_folder_permissions", "create_file", "make_folder"]


def make_folder(folder: Path, *, within: Path) -> None:
    """Make a folder, if there is none.

    Args:
        folder: The folder.
        within: The outermost folder that is ours, `folder` itself or one above it. It is made for its user
            only; those in it get its permissions.

    Raises:
        OSError: It cannot be made.
    """
    within.parent.mkdir(parents=True, exist_ok=True)
    within.mkdir(mode=0o700, exist_ok=True)
    for inner in [*reversed(folder.parents), folder]:
        if within in inner.parents:
            with suppress(FileExistsError):
                inner.mkdir()
                inner.chmod(stat.S_IMODE(within.stat().st_mode) & ~stat.S_ISVTX)


def create_file(path: Path) -> None:
    """Make an empty file with the permissions of its folder, if there is none.

    Raises:
        OSError: It cannot be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        apply_folder_permissions(path)


def apply_folder_permissions(path: Path) -> None:
    """Give a file of ours the permissions of the folder that it is in, without that of executing it."""
    path.chmod(path.parent.stat().st_mode & 0o666)
