"""A proxy before the sandbox that changes answers: what a hostile or broken server might send."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

Change = Callable[[str, str, bytes], bytes]
"""Takes method, path with query, and the body of an answer of 2xx; returns the body to send."""

_KEPT_HEADERS = ("Authorization", "Accept", "Content-Type", "X-Organization")


@contextmanager
def changing_proxy(url: str, change: Change) -> Iterator[str]:
    """Serve what is at the address, changed; yield the address of the proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: self.headers[name] for name in _KEPT_HEADERS if name in self.headers}
            answer = requests.request(
                self.command, url + self.path, data=body, headers=headers, timeout=30, allow_redirects=False
            )
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

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _forward

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
