"""`python -m prefect_cvat.sandbox`."""

import argparse
import sys

from prefect_cvat.sandbox.nuclio import Nuclio
from prefect_cvat.sandbox.server import serve
from prefect_cvat.sandbox.slowness.figures import LIKE, Slowness


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, serve, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="prefect_cvat.sandbox", description="A CVAT-compatible server. Not CVAT."
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free port")
    parser.add_argument("--data", help="folder for the database and the media (default: a temporary folder)")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin")
    parser.add_argument("--like", metavar="NAME", help=f"as slow as a real server: {', '.join(LIKE)}")
    parser.add_argument(
        "--slow",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set one delay, such as round_trip_seconds=0.1; may be repeated",
    )
    for name in Nuclio.model_fields:
        parser.add_argument(f"--nuclio-{name.replace('_', '-')}", help=f"CVAT's CVAT_NUCLIO_{name.upper()}")
    chosen = parser.parse_args(arguments)
    try:
        slowness = Slowness.parse(chosen.like, chosen.slow)
        nuclio = Nuclio.parse({name: getattr(chosen, f"nuclio_{name}") for name in Nuclio.model_fields})
        serve(chosen.host, chosen.port, chosen.data, chosen.user, chosen.password, slowness, nuclio)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
