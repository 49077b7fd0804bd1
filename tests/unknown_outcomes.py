"""Faults of the sandbox after which a client does not know whether its request was executed."""

import pytest

LATE = {"kind": "late_commit", "answer": 504, "delay": 0.2}
"""The server answers 504, and executes the request afterwards."""

with_each_unknown_outcome = pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 504, "when": "after"},
        {"kind": "status", "status": 500, "when": "before"},
        {"kind": "reset", "when": "after"},
        LATE,
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
