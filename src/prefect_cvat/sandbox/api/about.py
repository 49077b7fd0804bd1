"""GET server/about: what the server says about itself."""

from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Reply
from prefect_cvat.sandbox.cvat_version import CVAT_VERSION


def about(call: Call) -> Reply:
    """GET server/about."""
    return Reply(
        json={
            "name": "prefect-cvat sandbox (not CVAT)",
            "description": "A server with a part of CVAT's API, for demos and tests. It is not CVAT.",
            "version": CVAT_VERSION,
            "logo_url": f"{call.base_url}/static/logo.svg",
            "subtitle": "Sandbox",
        }
    )
