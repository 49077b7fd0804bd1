"""The code that some code reaches by its imports, so that it can be compared between runs.

What belongs to Python or to a well-known framework counts by its version. All other modules count with
their content, and with what they import in turn, also where that happens only inside of a function. Nothing
is imported for that.
"""

from __future__ import annotations

import hashlib
import sys
import types
import weakref
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from prefect_cvat.inference.function_digest.bytecode import (
    UnknownCodeError,
    code_parts,
    constant_text,
    imports,
    nested_code,
)
from prefect_cvat.inference.function_digest.known_versions import known_by_version
from prefect_cvat.inference.function_digest.module_search import find_module

__all__ = ["ReachedCode"]

MAX_BYTES = 30_000_000
"""Maximum amount of code that is read: some seconds."""

_EXAMINED: weakref.WeakKeyDictionary[types.ModuleType, tuple[str, tuple[str, ...]]] = (
    weakref.WeakKeyDictionary()
)


class ReachedCode:
    """Modules that some code reaches, each with what it counts by."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._versions: set[str] = set()
        self._contents: dict[str, str] = {}
        self._bytes_left = MAX_BYTES

    def add(self, name: str, spec: ModuleSpec | None = None) -> None:
        """Add a module, and all that it reaches.

        Args:
            name: Its full name.
            spec: Where it comes from, if that is known.

        Raises:
            UnknownCodeError: It cannot be determined what it does.
        """
        waiting = [(name, spec)]
        while waiting:
            name, spec = waiting.pop()
            if name in self._seen or name == "__main__":
                continue
            self._seen.add(name)
            spec = spec or find_module(name)
            if known_version := known_by_version(name, spec):
                self._versions.add(known_version)
            elif spec is None:
                self._contents[name] = "is not there"
            else:
                self._contents[name], reached = self._content(name, spec)
                waiting += ((each, None) for each in (*_parents(name), *reached))

    def add_own(self, name: str) -> None:
        """Add a module as `add` does, unless it counts by its version.

        Raises:
            UnknownCodeError: It cannot be determined what it does, or where it comes from.
        """
        if name == "__main__":
            raise UnknownCodeError("code that was typed in or is run as a script")
        if not known_by_version(name, find_module(name)):
            self.add(name)

    def lines(self) -> list[str]:
        """Each module with what it counts by, in order; the same in every process and on every machine."""
        modules = (f"{name} {content}" for name, content in self._contents.items())
        return [*sorted(self._versions), *sorted(modules)]

    def _content(self, name: str, spec: ModuleSpec) -> tuple[str, tuple[str, ...]]:
        """A digest of a module's code, and what it imports."""
        module = sys.modules.get(name)
        if getattr(module, "__spec__", None) is not spec:
            module = None
        # once it is loaded, a change of its file changes nothing in this process
        if module is not None and module in _EXAMINED:
            return _EXAMINED[module]
        size = _size(spec)
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise UnknownCodeError(f"more code than can be read (at module {name})")
        found = _examine(name, spec)
        if module is not None:
            _EXAMINED[module] = found
        return found


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _size(spec: ModuleSpec) -> int:
    try:
        return Path(spec.origin or "").stat().st_size if spec.has_location else 0
    except OSError:
        return 0


def _examine(name: str, spec: ModuleSpec) -> tuple[str, tuple[str, ...]]:
    if spec.loader is None or spec.origin is None:  # a package without code of its own, or made by other code
        return "has no code", ()
    digest = hashlib.sha256()
    reached: list[str] = []
    get_code = getattr(spec.loader, "get_code", None)
    try:
        code = None if get_code is None else get_code(name)
        if code is None:  # compiled to machine code
            digest.update(Path(spec.origin).read_bytes())
    except (OSError, ImportError, SyntaxError, ValueError) as error:
        raise UnknownCodeError(f"module {name}, which cannot be read ({type(error).__name__})") from error
    if code is not None:
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        for each in nested_code(code):
            for part in (*code_parts(each), constant_text(each.co_consts).encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
            reached += imports(each, package)
    return digest.hexdigest(), tuple(dict.fromkeys(reached))
