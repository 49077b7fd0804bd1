"""Try to make runs lose, double or harm annotations: seeded schedules of faults, kills, machines and humans.

`python tests/soak/soak.py --schedules 300 --seed 1` plays schedules one after another until they or the minutes
are used up.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from soak.command import main

    sys.exit(main())
