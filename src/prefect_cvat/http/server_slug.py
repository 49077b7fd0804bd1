"""A CVAT server as part of the names of limits, events and variables in Prefect."""

from __future__ import annotations

import hashlib
import re

from prefect_cvat.http.server_url import server_identity

__all__ = ["server_slug", "slug"]


def server_slug(server: str) -> str:
    """A server as part of a name, such as `cvat-example-com`; the same for all spellings of its URL."""
    return slug(server_identity(server))


def slug(text: str) -> str:
    """A text as part of a name, in lower case letters, digits and dashes; different texts differ.

    Dashes in the text are doubled. If it has other characters, such as those of a path, a digest is appended.
    """
    if re.fullmatch(r"[a-z0-9.:-]+", text):
        return re.sub(r"[.:]", "-", text.replace("-", "--"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}-{digest}"
