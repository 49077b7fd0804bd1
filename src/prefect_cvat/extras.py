"""The extras of this package: optional libraries, and what to install where one is missing."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from types import ModuleType

from prefect_cvat.exceptions import MissingLibraryError, PrefectCvatError

__all__ = ["LIBRARIES", "explain_missing", "find_remedy", "import_library", "install_command", "is_installed"]

LIBRARIES = {
    "av": "video",
    "cv2": "video",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "prefect_dask": "dask",
    "prefect_ray": "ray",
    "safetensors": "pytorch",
    "supervision": "export",
    "torch": "pytorch",
    "torchvision": "pytorch",
    "trackers": "video",
    "transformers": "transformers",
    "ultralytics": "ultralytics",
}
"""The extra of each library, by the name that one imports."""

_SHARED_OBJECT = re.compile(r"(\S+\.so[\w.]*): cannot open shared object file")
_DEBIAN_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
"""System libraries that opencv-python needs and images of containers often lack, with their packages."""


def import_library(
    library: str, user: str, *, extra: str | None = None, raises: type[PrefectCvatError] = MissingLibraryError
) -> ModuleType:
    """Import a library of an extra, or a module of it.

    Args:
        library: The module, as one imports it.
        user: What needs it, to begin the message with.
        extra: The extra, or several with commas; None for that of the library.
        raises: The exception to raise.

    Raises:
        PrefectCvatError: It cannot be imported. The message says what to install.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        verb = "need" if user.endswith("s") else "needs"
        name = library.partition(".")[0]
        raise raises(f"{user} {verb} {name} ({error}); {explain_missing(error, name, extra)}") from error


def explain_missing(error: ImportError, library: str, extra: str | None = None) -> str:
    """Say what to install, or why an installed library cannot be imported.

    Args:
        error: What its import raised.
        library: The library, one of `LIBRARIES`.
        extra: The extra, or several with commas; None for that of the library.
    """
    if isinstance(error, ModuleNotFoundError):
        return f"install it: {install_command(extra or LIBRARIES[library])}"
    return find_remedy(error) or (
        "it is installed, but its import fails: its version may not fit those of other libraries"
    )


def find_remedy(error: BaseException) -> str | None:
    """Say what to install after the import of any module failed; None if that is not known."""
    if isinstance(error, ModuleNotFoundError):
        extra = LIBRARIES.get((error.name or "").partition(".")[0])
        return extra and f"install it: {install_command(extra)}"
    if not isinstance(error, ImportError) or (missing := _SHARED_OBJECT.search(str(error))) is None:
        return None
    if missing[1] in _DEBIAN_PACKAGES:
        packages = " ".join(sorted({*_DEBIAN_PACKAGES.values()}))
        return (
            "OpenCV is installed, but not the system libraries of its windows; install them: apt-get install"
            f" {packages}; or install OpenCV without windows: pip uninstall -y opencv-python &&"
            " pip install opencv-python-headless"
        )
    return f"it is installed, but not {missing[1]}, a library of the operating system; install that"


def install_command(extra: str) -> str:
    """The command that installs an extra, or several with commas."""
    return f'pip install "prefect-cvat[{extra}]"'


def is_installed(extra: str) -> bool:
    """Whether all libraries of an extra can be found; none is imported."""
    return all(_is_found(library) for library, its_extra in LIBRARIES.items() if its_extra == extra)


def _is_found(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):  # somebody has put something else in its place
        return False
