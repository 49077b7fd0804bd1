"""An embedded server that speaks CVAT's API, for tries, demonstrations and tests. It is not CVAT."""

from prefect_cvat.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "serve"]
