"""The folder of a dataset: it is there when all of it is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect_cvat.exceptions import PrefectCvatError, StorageError

__all__ = ["check_free", "written_whole"]


def check_free(folder: Path) -> None:
    """See to it that nothing is overwritten.

    Raises:
        ValueError: There is something at this place already.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        what = "is not empty" if folder.is_dir() else "is not a folder"
        raise ValueError(
            f"{str(folder)!r} {what}; nothing is overwritten: name a folder that does not exist, or remove it"
        )


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A new folder to write to; when the block ends, it is moved to where it belongs, and else removed.

    Args:
        folder: Where it belongs. It does not exist, or is empty.

    Raises:
        ValueError: There is something at this place already.
        StorageError: The disk does not take it.
    """
    check_free(folder)
    temporary: str | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # beside its place, so that moving it there is a renaming, which happens whole or not at all
        temporary = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
        # one in it, because that of mkdtemp is for this user only
        part = Path(temporary) / folder.name
        part.mkdir()
        yield part
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except PrefectCvatError:  # some are errors of the operating system too
        raise
    except OSError as error:
        raise StorageError(f"the dataset cannot be written to {str(folder)!r}: {error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
