"""A gateway with given functions."""

import contextlib

import pytest

from cvat_calls import CvatCalls
from prefect_cvat.gateway import Gateway, GatewayConfiguration


@pytest.fixture
def serve():
    """Start a gateway with these functions; returns the calls of CVAT."""
    with contextlib.ExitStack() as stack:

        def start(configuration=None, *, timeout=120, **functions):
            options = configuration or GatewayConfiguration(port=0)
            gateway = stack.enter_context(Gateway(options, functions=functions))
            calls = CvatCalls(gateway, timeout=timeout)
            calls.gateway = gateway
            return calls

        yield start
