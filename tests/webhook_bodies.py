"""Bodies of webhooks, and ports without an answer."""

import json
import socket
import socketserver
import threading
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from prefect_cvat.http.server_url import server_slug

RECORDED = Path(__file__).parent / "deployments" / "webhooks" / "webhooks_of_cvat_2_73.json"
CREATED = json.loads(RECORDED.read_text())[1]


def task_body(task_id, event="update:task", *, sender="bob", changed=("name",), **fields):
    body = {
        "event": event,
        "webhook_id": 2,
        "task": {**CREATED["task"], "id": task_id, "updated_date": str(uuid4()), **fields},
        "sender": {"id": 7, "username": sender},
    }
    if event.startswith("update"):
        body["changes"] = {name: {"from": "a", "to": "b"} for name in changed}
    return body


def ready_body(task_id, status="finished", message=""):
    operation = {"type": "create:task", "target": "task", "task_id": task_id}
    request = {"status": status, "message": message, "operation": operation}
    return {"event": "completed:request[create:task]", "request": request, "webhook_id": 2}


def resource_id(sandbox, task_id):
    return f"cvat.task.{server_slug(sandbox.url)}.{task_id}"


@contextmanager
def closed_port():
    """A port on which nothing listens, and that nothing else gets within the block."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def forwarded(port, upstream):
    """A port that leads to another address."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.create_connection(upstream) as target:
                back = threading.Thread(target=copy, args=(target, self.request), daemon=True)
                back.start()
                copy(self.request, target)
                back.join()

    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Forward) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()
