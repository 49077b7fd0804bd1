"""Sends to webhooks: a thread for what is queued, and the one request that both it and a ping make."""

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
from prefect_cvat.sandbox.webhook_delivery.delivery_queue import Answer

_CONNECT_SECONDS = 3
_READ_SECONDS = 10
_LONGEST_RESPONSE = 1024 * 1024
_URL_CHARACTERS = "/%:=&?~#+!$,;'@()*[]"


class WebhookSender:
    """Sends what is queued for webhooks, one after another, without holding up those who queue it.

    What has to be tried again waits for its time, and holds up nothing else; so only first attempts arrive in
    the order of what they tell. What is not sent when it is closed stays in the queue.

    Args:
        database: Where the queue is.
        retry_seconds: How long to wait before the second attempt, the third, and so on.
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
        """Makes it look for something new in the queue."""
        self._awake.set()

    def close(self) -> None:
        """Breaks off what is being sent, and ends."""
        with self._lock:
            self._closed = True
            for connected in self._sockets:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
        self._awake.set()
        self._thread.join()

    def send(self, webhook: Row, request: str) -> Answer:
        """Sends a body, signed where there is a secret.

        A receiver that is not there counts as 502, one that does not answer in time as 504, as in CVAT.
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
        return Answer(
            status_code=status_code,
            response=response,
            request_duration=int((time.perf_counter() - start) * 1000),
        )

    def _run(self) -> None:
        while not self._closed:
            self._awake.clear()
            with self._database.read() as db:
                queued = delivery_queue.first_in_queue(db)
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
        answer = self.send(webhook, queued["request"])
        if self._closed:
            # It may have been broken off. Whoever opens this folder again sends it once more.
            return
        with self._database.write() as db:
            delivery_queue.settle(db, queued, answer, self._retry_seconds)

    def _post(self, webhook: Row, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        # http.client, because its socket can be shut from another thread, and because it goes nowhere else:
        # a redirect might lead away from this machine.
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
                content = response.read(_LONGEST_RESPONSE + 1)
            except TimeoutError as error:
                return 504, str(error)
            except (OSError, HTTPException) as error:
                return 502, str(error) or type(error).__name__
            finally:
                with self._lock:
                    self._sockets.discard(connected)
            text = "" if len(content) > _LONGEST_RESPONSE else content.decode(errors="replace")
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
