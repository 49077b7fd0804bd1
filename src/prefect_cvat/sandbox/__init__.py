"""An embedded server that speaks CVAT's API, for tries, demonstrations and tests. It is not CVAT.

It sends webhooks, as CVAT does, but to this machine only.

It can be told to fail as networks and servers do: through `Sandbox.faults`, or by GET, PUT and DELETE of
/sandbox/faults. `fault_rules` has the fields of a rule.

Examples:
    >>> with Sandbox() as server:
    ...     server.faults.set([{"methods": ["PATCH"], "times": 1, "fault": {"kind": "late_commit"}}], seed=1)
"""

from prefect_cvat.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
