"""An embedded server with a part of CVAT's REST API, for demos and tests. It is not CVAT.

It sends webhooks as CVAT does, but only to this machine.

It can fail as networks and servers do. Set faults through `Sandbox.faults`, or with GET, PUT and DELETE of
/sandbox/faults. `faults.rules.Rule` documents the fields of a rule.

Examples:
    >>> with Sandbox() as server:
    ...     server.faults.set([{"methods": ["PATCH"], "times": 1, "fault": {"kind": "late_commit"}}], seed=1)
"""

from prefect_cvat.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
