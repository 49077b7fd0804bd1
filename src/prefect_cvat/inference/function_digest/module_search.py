"""Where a module comes from, without importing anything."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader

__all__ = ["find_module"]


def find_module(name: str) -> ModuleSpec | None:
    """Where a module comes from; None if it is not there."""
    if (module := sys.modules.get(name)) is not None:
        spec: ModuleSpec | None = getattr(module, "__spec__", None)
        if spec is not None:
            return spec
        file = getattr(module, "__file__", None)
        if file is not None:
            return ModuleSpec(name, SourceFileLoader(name, file), origin=file)
        return None
    parent = name.rpartition(".")[0]
    if not parent:
        return _ask_finders(name)
    of_parent = find_module(parent)
    if of_parent is None or of_parent.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, of_parent.submodule_search_locations)


def _ask_finders(name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find_spec is None else find_spec(name, None)
        if spec is not None:
            return spec
    return None
