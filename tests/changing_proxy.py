"""A proxy before the sandbox that changes answers: what a hostile or broken server might send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loopback_server import LoopbackHandler, loopback_server

Change = Callable[[str, str, bytes], bytes]
"""Takes method, path with query, and the body of an answer of 2xx; returns the body to send."""


@contextmanager
def changing_proxy(url: str, change: Change) -> Iterator[str]:
    """Serve what is at the address, changed; yield the address of the proxy."""

    class Handler(LoopbackHandler):
        def _answer(self) -> None:
            answer = self.forward(url)
            content = answer.content
            if answer.ok:
                content = change(self.command, self.path, content)
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Retry-After"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

    with loopback_server(Handler) as address:
        yield address
