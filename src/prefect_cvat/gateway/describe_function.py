"""Describes one function, in a process of its own: `python -m prefect_cvat.gateway.describe_function FILE`.

The entry of the function comes as JSON on the standard input. The file gets its description, or `ERROR` and
why there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Write the description of the function."""
    from prefect_cvat.exceptions import PrefectCvatError
    from prefect_cvat.gateway.configuration import ServedFunction
    from prefect_cvat.gateway.descriptions import ERROR, describe
    from prefect_cvat.gateway.function_source import load_served_function

    result = Path(sys.argv[1])
    entry = ServedFunction(**json.load(sys.stdin))
    try:
        text = describe(load_served_function(entry)).model_dump_json()
    except (PrefectCvatError, ValueError) as error:
        text = f"{ERROR}{error}"
    result.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
