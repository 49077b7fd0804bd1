"""Downloads that another thread interrupts during any wait."""

import io
import threading
import time
from contextlib import contextmanager

import pytest

from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat.exceptions import ApiError, RunStoppedError, TransportError
from prefect_cvat.http.interruption import Interruption
from prefect_cvat.http.reachability import REACHABILITY_PATH
from prefect_cvat.http.transport import Transport


@contextmanager
def server(respond, began):
    """Serve GET requests; `began` is set when one arrives."""

    class Handler(LoopbackHandler):
        def answer(self):
            if self.path == REACHABILITY_PATH:
                self.reply(200, b'{"version": "2.73.0"}')
                return
            began.set()
            respond(self)

        do_GET = answer

        def reply(self, status, body, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with loopback_server(Handler) as url:
        yield url


@pytest.fixture
def released():
    event = threading.Event()
    yield event
    event.set()


def silent(released):
    return lambda _: released.wait(60)


def in_the_middle(released):
    def respond(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 500)
        handler.wfile.flush()
        released.wait(60)
        handler.close_connection = True

    return respond


def busy(_released):
    return lambda handler: handler.reply(429, b"", Retry_After="60")


@pytest.mark.parametrize("respond", [silent, in_the_middle, busy])
def test_interrupted_download_ends_immediately_and_is_not_retried(released, respond):
    began, lines = threading.Event(), []
    interruption = Interruption()
    with server(respond(released), began) as url:
        transport = Transport(url, on_retry=lines.append)
        timer = threading.Thread(target=lambda: (began.wait(30), time.sleep(0.3), interruption.set()))
        timer.start()
        started = time.monotonic()
        with pytest.raises((TransportError, ApiError)):
            transport.download("/api/x", io.BytesIO(), max_bytes=2000, interruption=interruption)
        assert time.monotonic() - started < 10
        timer.join()
        assert len(lines) == (respond is busy), "no attempt is announced that does not come"
        with pytest.raises((TransportError, ApiError)):
            transport.download("/api/x", io.BytesIO(), max_bytes=2000, interruption=interruption)
        transport.close()
        released.set()


def test_connection_of_another_request_stays_open(released):
    began, interruption = threading.Event(), Interruption()

    def respond(handler):
        if handler.path == "/api/slow":
            released.wait(1)
        handler.reply(200, b"{}")

    with server(respond, began) as url:
        transport = Transport(url)
        transport.download("/api/x", io.BytesIO(), max_bytes=2000, interruption=interruption)
        began.clear()
        timer = threading.Thread(target=lambda: (began.wait(30), interruption.set()))
        timer.start()
        assert transport.json("GET", "/api/slow") == {}, "over the same connection"
        timer.join()
        transport.close()


def test_wait_between_attempts_can_be_interrupted(released):
    class Stopping(Interruption):
        def pause(self, seconds, error):
            assert seconds >= 60
            assert error.status == 429
            raise RunStoppedError("enough")

    with server(busy(released), threading.Event()) as url:
        transport = Transport(url)
        with pytest.raises(RunStoppedError, match="enough"):
            transport.download("/api/x", io.BytesIO(), max_bytes=2000, interruption=Stopping())
        transport.close()
