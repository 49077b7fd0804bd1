"""Libraries of functions that are extras of this package."""

from __future__ import annotations

from types import ModuleType

from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.extras import import_library

__all__ = ["import_extra"]


def import_extra(library: str) -> ModuleType:
    """Import a library that comes with an extra of this package.

    Raises:
        FunctionLoadError: It, or something that it needs, is not installed.
    """
    return import_library(library, "this function", raises=FunctionLoadError)
