"""Validation of the body of a webhook, with CVAT's error messages."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

from prefect_cvat.sandbox.api import field_checks
from prefect_cvat.sandbox.api.field_checks import REQUIRED, FieldError
from prefect_cvat.sandbox.api.reply import Json, bad_request
from prefect_cvat.sandbox.loopback import is_loopback
from prefect_cvat.sandbox.webhook_delivery.webhook_events import EVENTS

TYPES = ("organization", "project")


def validate_webhook(body: Json, *, webhook_type: str | None = None, partial: bool = False) -> Json:
    """Validate the body of a webhook that is created or changed.

    Args:
        body: The body of the request. Unknown fields are ignored.
        webhook_type: The type of the webhook that is changed; None for a new one. Neither the type nor the
            project of a webhook can be changed.
        partial: Whether required fields may be missing.

    Returns:
        The values of the fields, for a new webhook with the defaults of missing fields.

    Raises:
        ApiError: 400 with the errors by field.
    """
    values: Json = {}
    errors: Json = {}
    for name, (check, default) in (_FIELDS if webhook_type else _FIELDS | _CREATE_ONLY_FIELDS).items():
        try:
            if name in body:
                values[name] = check(body[name])
            elif default is ... and not partial:
                errors[name] = [REQUIRED]
            elif webhook_type is None:
                values[name] = default
        except FieldError as error:
            errors[name] = error.body
    if errors:
        raise bad_request(errors)
    kind = webhook_type or values["type"]
    if "events" in values and (not values["events"] or not set(values["events"]) <= EVENTS[kind].keys()):
        raise bad_request({"non_field_errors": [f"Invalid events list for {kind} webhook"]})
    return values


def _text(longest: int, *, blank: bool = True) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value is None:
            raise FieldError(["This field may not be null."])
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise FieldError(["Not a valid string."])
        text = str(value).strip()
        if not text and not blank:
            raise FieldError(["This field may not be blank."])
        if len(text) > longest:
            raise FieldError([f"Ensure this field has no more than {longest} characters."])
        return text

    return check


def _target_url(value: Any) -> str:
    text = _text(8192, blank=False)(value)
    host = _host(text)
    if not host:
        raise FieldError(["Enter a valid URL."])
    if urlsplit(text).scheme not in ("http", "https") or not is_loopback(host):
        raise FieldError(
            [
                "The sandbox, which is not CVAT, sends webhooks to this machine only: "
                f"expected a loopback address like http://127.0.0.1:8000/, got {text!r}."
            ]
        )
    return text


def _host(text: str) -> str | None:
    """The host of a URL; None if the URL is invalid."""
    if re.search(r"\s", text):
        return None
    try:
        url: SplitResult = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    return url.hostname if url.scheme in ("http", "https", "ftp", "ftps") and port != 0 else None


def _events(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise FieldError([f'Expected a list of items but got type "{type(value).__name__}".'])
    for name in value:
        if not isinstance(name, str) or name not in EVENTS["all"]:
            raise FieldError([f'"{name}" is not a valid choice.'])
    return sorted(set(value))


def _project_id(value: Any) -> int | None:
    return None if value is None else field_checks.integer(value)


_Check = Callable[[Any], Any]
# Check and default of each field; an ellipsis marks a required field.
_FIELDS: dict[str, tuple[_Check, Any]] = {
    "target_url": (_target_url, ...),
    "description": (_text(128), ""),
    "content_type": (field_checks.choice(("application/json",)), "application/json"),
    "secret": (_text(64), ""),
    "is_active": (field_checks.boolean, True),
    "enable_ssl": (field_checks.boolean, True),
    "events": (_events, ...),
}
_CREATE_ONLY_FIELDS: dict[str, tuple[_Check, Any]] = {
    "type": (field_checks.choice(TYPES), ...),
    "project_id": (_project_id, None),
}
