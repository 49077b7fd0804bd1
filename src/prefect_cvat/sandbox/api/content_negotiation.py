"""Content negotiation by the Accept header."""

from prefect_cvat.sandbox.api.reply import VND_JSON, ApiError

API_VERSION = "2.0"


def negotiate(accept: str | None) -> str:
    """Choose between CVAT's JSON and a page for browsers.

    Args:
        accept: The Accept header; None means JSON.

    Returns:
        The media type, without parameters.

    Raises:
        ApiError: 406 if nothing fits. As in CVAT, `application/json` does not fit.
    """
    if not accept:
        return VND_JSON
    for item in sorted(accept.split(","), key=_quality, reverse=True):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        if media_type in ("*/*", "application/*", VND_JSON):
            _check_version(parameters)
            return VND_JSON
        if media_type in ("text/html", "text/*"):
            return "text/html"
    raise ApiError(406, {"detail": "Could not satisfy the request Accept header."})


def _quality(item: str) -> float:
    for parameter in item.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0
    return 1


def _check_version(parameters: list[str]) -> None:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "version" and value != API_VERSION:
            raise ApiError(406, {"detail": 'Invalid version in "Accept" header.'})
