"""A digest of a function: its code, its parameters, its weights.

Detections are cached under this digest. The digest of a function with a `version` is made of that version.
For other functions, the code and the state are read, and all code that they reach (`imported_code.py`). Where
that is impossible (a session of another runtime, for example), there is no digest, and nothing is cached.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError
from prefect_cvat.inference.function_digest.object_walk import ObjectWalk, feed
from prefect_cvat.messages.bounded_text import describe_error, one_line

__all__ = ["FunctionDigest", "digest_of"]


@dataclass(frozen=True)
class FunctionDigest:
    """A digest that two functions share only if they find the same on the same image.

    Attributes:
        digest: 64 hexadecimal digits; None if none can be made.
        why_none: Why there is no digest; empty if there is one.
    """

    digest: str | None
    why_none: str = ""


def digest_of(function: object, made_for: str = "") -> FunctionDigest:
    """Make a digest of a function.

    Args:
        function: An auto-annotation function: an object or a module.
        made_for: What it was made for, see `FunctionForTask.made_for`.
    """
    digest = hashlib.sha256()
    if made_for:
        feed(digest, f"made for {made_for}")
    try:
        version = getattr(function, "version", None)
        if isinstance(version, str | int):
            feed(digest, f"{type(function).__module__}.{type(function).__qualname__} version {version}")
        else:
            ObjectWalk(digest).take(function)
    except UnknownCodeError as error:
        return _none(str(error))
    except Exception as error:  # an object may raise anything when it is inspected
        return _none(f"something that cannot be inspected ({describe_error(error)})")
    return FunctionDigest(digest.hexdigest())


def _none(what: str) -> FunctionDigest:
    return FunctionDigest(
        None,
        f"the function holds or reaches {one_line(what)}, which cannot be compared between runs; give it a"
        " `version`",
    )
