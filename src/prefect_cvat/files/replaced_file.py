"""Replaces files at once: after an error, or a full disk, the old file is still there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

__all__ = ["replace_file"]


def replace_file(
    path: Path, content: bytes, set_permissions: Callable[[Path], None], *, mode: int = 0o600
) -> None:
    """Write a file beside another one, and replace that one: a reader sees the old one or the new one.

    Args:
        path: The file; it need not exist.
        content: Its content.
        set_permissions: Called with the written file, before it gets its name.
        mode: The permissions with which the file is created, less those of the umask.

    Raises:
        OSError: It cannot be written or replaced. What was there before is unchanged.
    """
    part = path.with_name(f".prefect-cvat-{uuid4().hex}.part")
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        set_permissions(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
