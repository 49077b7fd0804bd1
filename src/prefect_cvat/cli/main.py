"""The command `prefect-cvat`. It has the words of cvat-cli where cvat-cli has them."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line.

    Exits with 0 when done, 1 when it failed, 2 when it was called wrongly, 130 when it was interrupted, and
    143 when it was terminated.
    """
    try:  # from here on Ctrl-C ends it without a traceback, also while modules are imported
        from prefect_cvat.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run it again to complete it\n")
        sys.exit(130)
