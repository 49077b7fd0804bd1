"""A server in front of the sandbox that sends chunks from files, for as little processor time as can be.

The first request for a chunk is passed on, and the answer is kept in a file; from then on the kernel sends
that file. All other requests are passed on. It stands for a server on another machine: clients make the same
requests and the same checks.
"""

from __future__ import annotations

import sys
import tempfile
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class ChunkFiles(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    sandbox: str
    folder: Path
    kept: dict[str, HTTPMessage]

    def setup(self) -> None:
        """Connect to the sandbox."""
        super().setup()
        self.upstream = HTTPConnection(self.sandbox)

    def finish(self) -> None:
        """Close both connections."""
        self.upstream.close()
        super().finish()

    def do_GET(self) -> None:
        """Send a chunk from its file, or pass the request on."""
        if "type=chunk" not in self.path:
            self.pass_on()
            return
        file = self.folder / self.path.translate({ord(each): "_" for each in "/?&="})
        if self.path not in self.kept:
            self.pass_on(keep_in=file)
            return
        self.send_head(200, self.kept[self.path], file.stat().st_size)
        self.wfile.flush()
        with file.open("rb") as chunk:
            self.connection.sendfile(chunk)

    def pass_on(self, keep_in: Path | None = None) -> None:
        """Ask the sandbox, and send what it answers."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.upstream.request(self.command, self.path, body or None, dict(self.headers))
        answer = self.upstream.getresponse()
        content = answer.read()
        self.send_head(answer.status, answer.headers, len(content))
        self.wfile.write(content)
        if keep_in is not None and answer.status == 200:
            keep_in.write_bytes(content)
            self.kept[self.path] = answer.headers

    def send_head(self, status: int, headers: HTTPMessage, length: int) -> None:
        """Send the status and the headers of an answer of the sandbox."""
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 (names of http.server)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main(sandbox_url: str) -> None:
    """Serve until the process is ended."""
    with tempfile.TemporaryDirectory() as folder:
        ChunkFiles.sandbox = urlsplit(sandbox_url).netloc
        ChunkFiles.folder = Path(folder)
        ChunkFiles.kept = {}
        with ThreadingHTTPServer(("127.0.0.1", 0), ChunkFiles) as server:
            print(f"ready http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
