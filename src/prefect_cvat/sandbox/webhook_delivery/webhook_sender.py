"""The thread that sends queued webhook deliveries."""

import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, quote, urlsplit

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.cvat_version import CVAT_VERSION
from prefect_cvat.sandbox.storage.database import Database, Row
from prefect_cvat.sandbox.webhook_delivery import delivery_queue
from prefect_cvat.sandbox.webhook_delivery.delivery_queue import ReceiverResponse

_CONNECT_SECONDS = 3
_READ_SECONDS = 10
_MAX_RESPONSE_BYTES = 1024 * 1024
_URL_CHARACTERS = "/%:=&?~#+!$,;'@()*[]"


class WebhookSender:
    """Sends queued webhook deliveries one after another, in a thread of its own.

    A delivery that must be retried waits without blocking the others, so only first attempts arrive in order.
    Deliveries that are not sent before `close` stay in the queue.

    Args:
        database: The database with the queue.
        retry_seconds: Seconds to wait before the second attempt, the third, and so on.
    """

    def __init__(self, database: Database, retry_seconds: Sequence[float]) -> None:
        self._database = database
        self._retry_seconds = tuple(retry_seconds)
        self._awake = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sandbox-webhooks", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Make the thread look at the queue now."""
        self._awake.set()

    def close(self) -> None:
        """Abort the running request and end the thread."""
        with self._lock:
            self._closed = True
            for connected in self._sockets:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
        self._awake.set()
        self._thread.join()

    def send(self, webhook: Row, request: str) -> ReceiverResponse:
        """Send a body to a webhook, signed if the webhook has a secret.

        As in CVAT, an unreachable receiver counts as 502 and a timeout as 504.
        """
        body = request.encode()
        headers = {
            "Accept": "*/*",
            "Content-Type": webhook["content_type"],
            "User-Agent": f"CVAT/{CVAT_VERSION} prefect-cvat-sandbox",
        }
        if webhook["secret"]:
            digest = hmac.new(webhook["secret"].encode(), body, hashlib.sha256).hexdigest()
            headers["X-Signature-256"] = f"sha256={digest}"
        start = time.perf_counter()
        status_code, response = self._post(webhook, body, headers)
        return ReceiverResponse(
            status_code=status_code,
            response=response,
            request_duration=int((time.perf_counter() - start) * 1000),
        )

    def _run(self) -> None:
        while not self._closed:
            self._awake.clear()
            with self._database.read() as db:
                queued = delivery_queue.next_in_queue(db)
            if queued is None:
                self._awake.wait()
            elif (seconds := _seconds_until(queued["due"])) > 0:
                self._awake.wait(seconds)
            else:
                self._deliver(queued)

    def _deliver(self, queued: Row) -> None:
        with self._database.read() as db:
            webhook = db.execute(
                "SELECT * FROM webhook WHERE id = ? AND is_active", (queued["webhook_id"],)
            ).fetchone()
        if webhook is None:
            with self._database.write() as db:
                delivery_queue.drop(db, queued)
            return
        response = self.send(webhook, queued["request"])
        if self._closed:
            # The request may have been aborted. The next sandbox on this folder sends it again.
            return
        with self._database.write() as db:
            delivery_queue.finish_attempt(db, queued, response, self._retry_seconds)

    def _post(self, webhook: Row, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        # http.client, because another thread can shut its socket down, and because it follows no redirects,
        # which might lead to another machine.
        url = urlsplit(webhook["target_url"])
        connection = _connection(url, verify=bool(webhook["enable_ssl"]))
        target = quote(url.path or "/", safe=_URL_CHARACTERS)
        if url.query:
            target += "?" + quote(url.query, safe=_URL_CHARACTERS)
        try:
            try:
                connection.connect()
            except OSError as error:
                return 502, str(error)
            connected = connection.sock
            with self._lock:
                if self._closed:
                    return 502, "the sandbox has been stopped"
                self._sockets.add(connected)
            try:
                connected.settimeout(_READ_SECONDS)
                connection.request("POST", target, body, headers)
                response = connection.getresponse()
                content = response.read(_MAX_RESPONSE_BYTES + 1)
            except TimeoutError as error:
                return 504, str(error)
            except (OSError, HTTPException) as error:
                return 502, str(error) or type(error).__name__
            finally:
                with self._lock:
                    self._sockets.discard(connected)
            text = "" if len(content) > _MAX_RESPONSE_BYTES else content.decode(errors="replace")
            return response.status, text
        finally:
            connection.close()


def _connection(url: SplitResult, *, verify: bool) -> HTTPConnection:
    assert url.hostname is not None
    if url.scheme == "http":
        return HTTPConnection(url.hostname, url.port or 80, timeout=_CONNECT_SECONDS)
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(url.hostname, url.port or 443, timeout=_CONNECT_SECONDS, context=context)


def _seconds_until(moment: str) -> float:
    return (timestamps.read(moment) - timestamps.read(timestamps.now())).total_seconds()
