"""Libraries that are extras of this package."""

from __future__ import annotations

import importlib
from types import ModuleType

from prefect_cvat.exceptions import FunctionLoadError

__all__ = ["import_extra"]


def import_extra(library: str, extra: str | None = None) -> ModuleType:
    """Import a library that comes with an extra of this package.

    Args:
        library: The module, as one imports it.
        extra: The extra; None if it is called like the module's library.

    Raises:
        FunctionLoadError: It, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        extra = extra or library.partition(".")[0]
        raise FunctionLoadError(
            f'this function needs {library} ({error}); install it: pip install "prefect-cvat[{extra}]"'
        ) from error
