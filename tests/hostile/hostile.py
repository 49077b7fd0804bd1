"""Annotate tasks under hostile inputs, and count the outcomes.

`python tests/hostile/hostile.py --only json --show` plays those with this in their kind or name, and shows what was
printed.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from hostile.command import main

    sys.exit(main())
