"""Addresses that CVAT has taken out of service."""

from prefect_cvat.sandbox.api.call import HTML, ApiError, Call, Reply

_TEXT = """This endpoint is no longer supported.
Exports are not a part of the sandbox.
"""


def old_export(_call: Call) -> Reply:
    """GET tasks/ID/dataset: 410."""
    raise ApiError(410, _TEXT, media_type=HTML)
