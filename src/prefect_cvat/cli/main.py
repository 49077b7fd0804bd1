"""The command `prefect-cvat`. Options have the names of cvat-cli where it has them."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted, 143 terminated.
    """
    try:  # no traceback after Ctrl-C, even while modules are imported
        from prefect_cvat.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run it again to complete it\n")
        sys.exit(130)
