"""`prefect-cvat` and Python code where libraries of extras are not installed, or cannot be loaded."""

import subprocess

from command_line import run_code
from prefect_cvat.extras import LIBRARIES

_MISSING = """
import sys

class _Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {libraries!r}:
            raise {error}

sys.meta_path.insert(0, _Missing())
"""
_COMMAND = """
from prefect_cvat.cli.main import main

main()
"""

NOT_INSTALLED = _MISSING.format(
    libraries=tuple(LIBRARIES), error='ModuleNotFoundError(f"No module named {name!r}", name=name)'
)
"""Code after which no library of an extra can be imported."""

NO_LIBGL = _MISSING.format(
    libraries=("cv2",),
    error='ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2")',
)
"""Code after which the import of OpenCV fails as in an image without the libraries of windows."""


def run_without(
    before: str, *arguments: object, code: str = _COMMAND, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `prefect-cvat`, or other code, after code that makes imports fail."""
    return run_code(before + code, *arguments, imported=(), **environment)
