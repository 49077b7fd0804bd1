"""Descriptions of functions on disk. A function that has none is described in a process of its own.

So no model is loaded to list functions, a function that hangs or ends its process does no harm here, and
the memory of its model is free again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.files.file_cache import FileCache
from prefect_cvat.gateway.configuration import ServedFunction
from prefect_cvat.gateway.descriptions import ERROR, FunctionDescription
from prefect_cvat.gateway.function_source import source_digest
from prefect_cvat.settings import Settings

__all__ = ["DescriptionStore"]

DESCRIBING_SECONDS = 900.0
"""How long a function may take to be made, downloads included."""


class DescriptionStore:
    """The descriptions of functions, by `source_digest`.

    Args:
        folder: Where they are kept; by default `gateway` in the cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._files = FileCache(folder or Settings().cache_dir / "gateway", "descriptions of functions")
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._making = threading.Lock()  # one process at a time
        self._is_closed = False

    def known(self, digest: str) -> FunctionDescription | None:
        """The description with this digest, if there is one."""
        return self._files.read(digest, lambda data: FunctionDescription.model_validate_json(bytes(data)))

    def put(self, digest: str, description: FunctionDescription) -> None:
        """Keep a description. If it cannot be written, a warning says so: each start makes it again."""
        self._files.write(digest, description.model_dump_json().encode())

    def make(self, entry: ServedFunction) -> FunctionDescription:
        """Describe a function in a process of its own, and keep the description.

        Raises:
            FunctionLoadError: It cannot be made, or takes too long, or its process ends.
        """
        with self._making:
            return self._make(entry)

    def _make(self, entry: ServedFunction) -> FunctionDescription:
        digest = source_digest(entry)
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "description.json"
            # with this path, not with the current folder before it
            command = [sys.executable, "-P", "-m", "prefect_cvat.gateway.describe_function", str(result)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            with self._lock:
                if self._is_closed:
                    raise FunctionLoadError("the gateway ends")
                self._child = subprocess.Popen(  # noqa: S603 (this interpreter)
                    command, stdin=subprocess.PIPE, stdout=2, env=environment
                )
            child = self._child
            try:
                child.communicate(entry.model_dump_json().encode(), timeout=DESCRIBING_SECONDS)
            except subprocess.TimeoutExpired:
                raise FunctionLoadError(f"making it took more than {DESCRIBING_SECONDS:.0f} s") from None
            finally:
                child.kill()
                child.wait()
            if not result.is_file():
                raise FunctionLoadError(f"making it ended its process, with status {child.returncode}")
            text = result.read_text(encoding="utf-8")
        if text.startswith(ERROR):
            raise FunctionLoadError(text.removeprefix(ERROR))
        description = FunctionDescription.model_validate_json(text)
        self.put(digest, description)
        return description

    def close(self) -> None:
        """End the process that describes a function, if there is one."""
        with self._lock:
            self._is_closed = True
            if self._child is not None:
                self._child.kill()
