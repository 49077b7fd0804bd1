"""Serving requests on a free port of this machine, in a thread of the test."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from prefect_cvat.http import reachability

_NOT_SENT_ON = {"accept-encoding", "connection", "content-length", "host"}


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers requests over connections that stay open, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def forward(self, url: str) -> requests.Response:
        """Send the request on to another server, and return what that answers."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_SENT_ON}
        headers["Accept-Encoding"] = "identity"
        return requests.request(
            self.command,
            url + self.path,
            data=self.read_body(),
            headers=headers,
            timeout=60,
            allow_redirects=False,
        )

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def loopback_server(handler: type[LoopbackHandler]) -> Iterator[str]:
    """Serve requests with a handler; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    # the port may be one that a server of an earlier test had
    reachability._answered.discard(address)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """Answer 404 over TLS; yield the address, and the file of the certificate, which nobody has signed."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
        + ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}", certificate
    finally:
        server.shutdown()
        server.server_close()
