"""GET server/about: what the server says about itself."""

from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Reply
from prefect_cvat.sandbox.cvat_version import CVAT_VERSION


def about(call: Call) -> Reply:
    """GET server/about: the version of CVAT that the sandbox follows."""
    return Reply(
        json={
            "name": "prefect-cvat sandbox (not CVAT)",
            "description": "An embedded server that speaks CVAT's API, for tries and tests. It is not CVAT.",
            "version": CVAT_VERSION,
            "logo_url": f"{call.base_url}/static/logo.svg",
            "subtitle": "Sandbox",
        }
    )
