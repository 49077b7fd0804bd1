"""An embedded server with a part of CVAT's REST API, for demos and tests. It is not CVAT.

It sends webhooks as CVAT does, but only to this machine.

It can fail as networks and servers do. Set faults through `Sandbox.faults`, or with GET, PUT and DELETE of
/sandbox/faults. `faults.rules.Rule` documents the fields of a rule.

With `nuclio`, it calls functions for annotators as CVAT does, through a gateway on this machine.

It can be as slow as a real server. Set `Sandbox.slowness`, or use GET and PUT of /sandbox/slowness. `LIKE`
has the figures of CVAT 2.73. `Sandbox.forget_chunks`, or DELETE of /sandbox/chunks, deletes its cached
chunks. It counts requests: `Sandbox.requests`, or GET and DELETE of /sandbox/requests.

Examples:
    >>> with Sandbox() as server:
    ...     server.faults.set([{"methods": ["PATCH"], "times": 1, "fault": {"kind": "late_commit"}}], seed=1)
    >>> with Sandbox(slowness=LIKE["cvat-2.73"]) as server:
    ...     server.slowness = Slowness(round_trip_seconds=0.1, bytes_per_second=10e6)
"""

from prefect_cvat.sandbox.nuclio import Nuclio
from prefect_cvat.sandbox.server import Sandbox, serve
from prefect_cvat.sandbox.slowness.figures import LIKE, Slowness

__all__ = ["LIKE", "Nuclio", "Sandbox", "Slowness", "serve"]
