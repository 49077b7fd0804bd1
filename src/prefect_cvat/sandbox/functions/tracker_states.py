"""Signs the states of trackers, which travel through the browser of the annotator."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from prefect_cvat.sandbox.api.reply import ApiError

MAX_AGE_SECONDS = 8 * 60 * 60

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def sign(state: Any, function: str, secret: bytes) -> str:
    """Write a state as `JSON:time:signature`; others can read it, but not change it."""
    text = f"{json.dumps(state, separators=(',', ':'))}:{_in_base_62(int(time.time()))}"
    return f"{text}:{_signature(text, function, secret)}"


def unsign(signed: Any, function: str, secret: bytes) -> Any:
    """Read a state.

    Raises:
        ApiError: 400 if it was changed, is of another function, or is older than eight hours.
    """
    text, _, signature = str(signed).rpartition(":")
    state, _, moment = text.rpartition(":")
    if (
        not hmac.compare_digest(signature, _signature(text, function, secret))
        or _age(moment) > MAX_AGE_SECONDS
    ):
        raise ApiError(400, "Invalid or expired tracker state")
    return json.loads(state)


def _signature(text: str, function: str, secret: bytes) -> str:
    digest = hmac.digest(secret, f"{function}\n{text}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _in_base_62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


def _age(moment: str) -> float:
    seconds = 0
    for digit in moment:
        seconds = 62 * seconds + _DIGITS.index(digit)
    return time.time() - seconds
