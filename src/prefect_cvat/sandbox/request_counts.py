"""Counts the requests to the sandbox, to compare clients."""

import re
import threading
from collections import Counter
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

_ID = re.compile(r"/\d+(?=/|$)")
_SHOWN_PARAMETERS = ("type", "action")


class RequestCounts:
    """Counts requests to /api/ by method and route: `GET /api/tasks/ID/data?type=chunk`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Number of all requests."""
        with self._lock:
            return self._counts.total()

    @property
    def by_route(self) -> Mapping[str, int]:
        """The number for each method and route, largest first."""
        with self._lock:
            return dict(self._counts.most_common())

    def clear(self) -> None:
        """Reset all counts to 0."""
        with self._lock:
            self._counts.clear()

    def add(self, method: str, path: str, query: str) -> None:
        """Count a request."""
        parameters = parse_qs(query)
        shown = "&".join(f"{name}={parameters[name][-1]}" for name in _SHOWN_PARAMETERS if name in parameters)
        route = f"{method} {_ID.sub('/ID', path.rstrip('/'))}" + (f"?{shown}" if shown else "")
        with self._lock:
            self._counts[route] += 1


class CountingMiddleware:
    """Counts each request to /api/ when it arrives.

    Args:
        app: The application.
        counts: The counts to update.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan of the server."""
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            self._counts.add(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        await self._app(scope, receive, send)
