"""The gateway: serves functions to CVAT's own pages, in the place of Nuclio."""

from prefect_cvat.gateway.configuration import GatewayConfiguration, ServedFunction, read_configuration
from prefect_cvat.gateway.gateway import Gateway, serve_gateway

__all__ = [
    "Gateway",
    "GatewayConfiguration",
    "ServedFunction",
    "read_configuration",
    "serve_gateway",
]
