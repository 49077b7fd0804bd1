"""Responses that are endless, unpack to huge sizes or are nested without end: memory is bounded, the error names them."""

import gzip
import io
import itertools
import json
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from prefect_cvat import Client, exceptions
from prefect_cvat.exceptions import (
    BadRequestError,
    InvalidResponseError,
    NotFoundError,
    RequestTimeoutError,
    ServerError,
    TransportError,
    is_transient,
)
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.media.chunk_download import fetch_chunk
from prefect_cvat.planning.chunk_locations import TaskChunks
from prefect_cvat.upload.sending.job_requests import UNKNOWN_OUTCOME
from scripted_server import HTML, JSON, Answer, scripted_server

ONCE = RetryPolicy(give_up_after=0)
GZIP = {**JSON, "Content-Encoding": "gzip"}
MEGABYTE = bytes(2**20)
MAX_MEGABYTES = 300


def client_of(server, **options):
    return Client(server.url, access_token="x", retry=ONCE, assume_reachable=True, **options)


def too_large(match):
    return pytest.raises(exceptions.ResponseTooLargeError, match=match)


def nested(depth):
    return b"[" * depth + b"]" * depth


def annotations(shapes):
    return b'{"version":0,"tags":[],"shapes":[' + shapes + b'],"tracks":[]}'


def squeezed(*parts):
    """Gzipped parts, each a text and its number of repetitions."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for text, times in parts:
            block = text * max(1, 2**20 // len(text))
            for _ in range(times * len(text) // len(block)):
                file.write(block)
    return packed.getvalue()


def endless():
    return itertools.repeat(MEGABYTE)


# --- memory, measured in a process of its own ---

CHILD = """
import json, re, resource, sys, tempfile
from prefect_cvat import Client
from prefect_cvat.http.retry_policy import RetryPolicy

def megabytes(name):
    with open("/proc/self/status") as status:
        return int(re.search(name + r":\\s*(\\d+)", status.read())[1]) / 1024

limit = int((megabytes("VmSize") + 1500) * 2**20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
client = Client(sys.argv[1], access_token="x", retry=RetryPolicy(give_up_after=0))
open("/proc/self/clear_refs", "w").write("5")
before = megabytes("VmHWM")
try:
    {attack}
    outcome = "nothing was raised"
except BaseException as error:
    outcome = type(error).__name__
print(json.dumps([outcome, megabytes("VmHWM") - before]))
"""

READ_ONE_BY_ONE = "for _ in client.iter_job_annotations(1): pass"
CHUNK = "client.chunk(1, 0, tempfile.TemporaryFile(), max_bytes=2**28)"
SHAPE = b'{"id":1,"frame":0,"label_id":1,"points":[1.5,2.5,3.5,4.5]},'
POLYGON = b'{"id":1,"type":"polygon","frame":0,"label_id":1,"points":[%s2.5]}'
WRITE = "client.create_job_annotations(1, {})"

ATTACKS = {
    "an annotation nested 200,000 deep": (
        lambda: Answer(body=annotations(b'{"id":1,"points":' + nested(200_000) + b"}")),
        READ_ONE_BY_ONE,
        "ResponseTooLargeError",
    ),
    "a task nested 200,000 deep": (
        lambda: Answer(body=b'{"id":' + nested(200_000) + b"}"),
        "client.task(1)",
        "InvalidResponseError",
    ),
    "all annotations nested 200,000 deep": (
        lambda: Answer(body=annotations(nested(200_000))),
        "client.task_annotations(1)",
        "InvalidResponseError",
    ),
    "a chunk without end": (lambda: Answer(parts=endless), CHUNK, "ResponseTooLargeError"),
    "a task without end": (lambda: Answer(parts=endless), "client.task(1)", "ResponseTooLargeError"),
    "an error without end": (lambda: Answer(500, parts=endless), "client.task(1)", "ServerError"),
    "the answer to a write without end": (lambda: Answer(parts=endless), WRITE, "ResponseTooLargeError"),
    "a refusal without end": (lambda: Answer(400, headers=HTML, parts=endless), WRITE, "BadRequestError"),
    "one annotation without end": (
        lambda: Answer(parts=lambda: [annotations(b"")[:33], b'{"id":1,"text":"', *[b"x" * 2**20] * 900]),
        READ_ONE_BY_ONE,
        "ResponseTooLargeError",
    ),
    "one annotation of lists without end": (
        lambda: Answer(
            parts=lambda: [annotations(b"")[:33], b'{"id":1,"points":[[]', *[b",[]" * 2**18] * 300]
        ),
        READ_ONE_BY_ONE,
        "ResponseTooLargeError",
    ),
    "one annotation of 6,000,000 numbers": (
        lambda: Answer(body=annotations(POLYGON % (b"1.5," * 6_000_000))),
        READ_ONE_BY_ONE,
        "ResponseTooLargeError",
    ),
    "a gzip bomb of zeros for a task": (
        lambda: Answer(body=squeezed((b"\0", 640 * 2**20)), headers=GZIP),
        "client.task(1)",
        "ResponseTooLargeError",
    ),
    "a gzip bomb of zeros for annotations": (
        lambda: Answer(body=squeezed((b"\0", 640 * 2**20)), headers=GZIP),
        READ_ONE_BY_ONE,
        "ResponseTooLargeError",
    ),
    "a gzip bomb of annotations": (
        lambda: Answer(body=squeezed((SHAPE, 10_000_000)), headers=GZIP),
        "client.job_annotations(1)",
        "ResponseTooLargeError",
    ),
    "a gzip bomb in an error": (
        lambda: Answer(403, body=squeezed((b"\0", 640 * 2**20)), headers=GZIP),
        "client.task(1)",
        "PermissionDeniedError",
    ),
    "30 MB of empty lists for a page of labels": (
        lambda: Answer(body=b'{"count":1,"next":null,"results":[[]' + b",[]" * 10_000_000 + b"]}"),
        "client.labels(1)",
        "ResponseTooLargeError",
    ),
    "20 MB of wrong values in a list": (
        lambda: Answer(body=b'{"chunk_size":1,"size":1,"frames":[0' + b",0" * 10_000_000 + b"]}"),
        "client.meta(1)",
        "InvalidResponseError",
    ),
    "75 MB of empty lists in a field of data/meta": (
        lambda: Answer(
            body=b'{"chunk_size":1,"other":[[]' + b",[]" * 25_000_000 + b'],"size":1,"frames":[]}'
        ),
        "client.meta(1)",
        "InvalidResponseError",
    ),
    "60 MB of empty objects in fields of data/meta": (
        lambda: Answer(
            body=b'{"size":1' + (b',"%d":[{}' + b",{}" * 30_000 + b"]") * 600 % tuple(range(600)) + b"}"
        ),
        "client.meta(1)",
        "InvalidResponseError",
    ),
    "deleted frames without end": (
        lambda: Answer(parts=lambda: [b'{"chunk_size":1,"deleted_frames":[1', *[b",1" * 2**20] * 120]),
        "client.meta(1)",
        "InvalidResponseError",
    ),
    "a redirect with a body without end": (
        lambda: Answer(302, headers={"Location": "/api/elsewhere"}, parts=endless),
        "client.task(1)",
        "RedirectError",
    ),
    "the length of a part of a body without end": (
        lambda: Answer(
            headers={"Transfer-Encoding": "chunked"}, parts=lambda: itertools.repeat(b"0" * 2**20)
        ),
        "client.task(1)",
        "TransportError",
    ),
}


@pytest.mark.parametrize(("make_answer", "attack", "outcome"), ATTACKS.values(), ids=ATTACKS)
def test_limits_memory_and_names_the_limit(make_answer, attack, outcome):
    with scripted_server(make_answer()) as server:
        script = textwrap.dedent(CHILD).replace("{attack}", attack)
        child = subprocess.run(
            [sys.executable, "-c", script, server.url], capture_output=True, text=True, timeout=120
        )
    found, megabytes = json.loads(child.stdout or '["' + child.stderr[-300:].replace('"', "'") + '", 0]')
    assert found == outcome
    assert megabytes < MAX_MEGABYTES


# --- depth and size ---


def test_ignores_brackets_in_strings():
    texts = ["[" * 300, '\\"[' * 300, '"' * 99 + "[" * 99, "]" * 300, "\\", '\\"', "[{" * 99 + "\\"]
    shapes = [
        {"id": i, "label_id": 1, "frame": 0, "type": "points", "points": [1, 2], "text": text}
        for i, text in enumerate(texts * 20_000)
    ]  # several blocks
    body = json.dumps({"version": 0, "tags": [], "shapes": shapes, "tracks": []}).encode()
    with scripted_server(Answer(body=body)) as server:
        assert [shape for _, shape in client_of(server).iter_job_annotations(1)] == shapes


@pytest.mark.parametrize("fill", [b'"]",', b'"\\"]",', b'"\\\\","]",'], ids=["plain", "quoted", "escaped"])
def test_detects_nesting_next_to_brackets_in_strings(fill):
    deep = (b"[" + fill) * 100 + b"1" + b"]" * 100
    with (
        scripted_server(Answer(body=annotations(b'{"id":1,"points":' + deep + b"}"))) as server,
        too_large("/api/jobs/1/annotations is not read: more than 64 brackets"),
    ):
        list(client_of(server).iter_job_annotations(1))


def test_reads_the_deepest_annotation_of_cvat():
    attributes = [{"spec_id": 1, "value": "a"}]
    shapes = [{"frame": 1, "type": "points", "attributes": attributes, "points": [1.0, 2.0]}]
    element = {"id": 2, "label_id": 2, "frame": 1, "shapes": shapes}
    track = {"id": 1, "label_id": 1, "frame": 1, "shapes": [], "elements": [element]}
    body = json.dumps({"version": 0, "tags": [], "shapes": [], "tracks": [track]}).encode()
    with scripted_server(Answer(body=body)) as server:
        assert list(client_of(server).iter_job_annotations(1)) == [("tracks", track)]


def test_refuses_an_encoding_that_was_not_requested():
    with (
        scripted_server(Answer(body=b"{}", headers={**JSON, "Content-Encoding": "gzip, gzip"})) as server,
        pytest.raises(InvalidResponseError, match="'gzip, gzip', which was not asked for"),
    ):
        client_of(server).task(1)


# --- errors ---


@pytest.mark.parametrize("depth", [200, 1000, 100_000])
def test_keeps_the_status_of_an_error_with_deep_json(depth):
    body = b'{"a":' * depth + b"1" + b"}" * depth
    with scripted_server(Answer(404, body)) as server, pytest.raises(NotFoundError):
        client_of(server).json("GET", "/api/tasks/1")
    with scripted_server(Answer(500, body)) as server, pytest.raises(UNKNOWN_OUTCOME) as error:
        client_of(server).create_job_annotations(1, {})
    assert isinstance(error.value, ServerError)
    assert len(str(error.value)) < 1000
    with scripted_server(Answer(400, body)) as server, pytest.raises(BadRequestError):
        client_of(server).create_job_annotations(1, {})


@pytest.mark.parametrize("status", [200, 500])
def test_treats_an_interrupted_write_as_possibly_executed(status):
    with (
        scripted_server(Answer(status, b'{"tags": [', claimed_length=100)) as server,
        pytest.raises(TransportError) as error,
    ):
        client_of(server).create_job_annotations(1, {})
    assert error.value.was_sent
    assert len(server.requests) == 1


# --- pages ---


def page(numbers, following="http://x/?page=2"):
    results = [{"id": number, "name": f"label {number}"} for number in numbers]
    return Answer(body=json.dumps({"count": 1, "next": following, "results": results}).encode())


def test_refuses_a_list_that_repeats_a_page():
    with (
        scripted_server(page([1, 2])) as server,
        pytest.raises(InvalidResponseError, match="GET /api/labels returned the same page twice"),
    ):
        client_of(server).labels(1)
    assert len(server.requests) == 2


def test_refuses_a_list_with_too_many_pages(monkeypatch):
    monkeypatch.setattr("prefect_cvat.cvat.connection.MAX_PAGES", 5)
    with (
        scripted_server(*(page([number]) for number in range(9))) as server,
        too_large("GET /api/labels returned 5 pages and links to a next one"),
    ):
        client_of(server).labels(1)
    assert len(server.requests) == 5
    with scripted_server(*(page([number]) for number in range(4)), page([4], None)) as server:
        assert [label.id for label in client_of(server).labels(1)] == [0, 1, 2, 3, 4]


# --- time ---


@contextmanager
def trickling(begin, piece, seconds):
    """A server that sends the same piece again and again until the client disconnects."""

    def answer(connection):
        with connection:
            connection.recv(2**16)
            try:
                connection.sendall(begin)
                while True:
                    connection.sendall(piece)
                    time.sleep(seconds)
            except OSError:
                return

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield SimpleNamespace(url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            listening.shutdown(socket.SHUT_RDWR)
    thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.cvat+json\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"H"),
        (HEAD, b"x"),
        (HEAD + b"Content-Length: 10000000\r\n\r\n", b" "),
        (HEAD + b"Connection: close\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 10000000\r\n\r\n", b" "),
    ],
    ids=["status line", "headers", "body", "body without a length", "parts", "error"],
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_stops_a_slow_response(monkeypatch, begin, piece, method):
    monkeypatch.setattr("prefect_cvat.http.slow_responses.WINDOW_SECONDS", 0.5)
    with trickling(begin, piece, 0.05) as server:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match="the answer comes too slowly: .* bytes in ") as error:
            client_of(server, timeout=(1, 0.3)).json(method, "/api/jobs/1/annotations")
    assert time.monotonic() - started < 5
    assert error.value.was_sent
    assert is_transient(error.value)


def test_stops_an_endless_response(monkeypatch):
    monkeypatch.setattr("prefect_cvat.http.slow_responses.MAX_SECONDS", 0.5)
    with (
        trickling(HEAD, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.01) as server,
        pytest.raises(exceptions.PrefectCvatError),
    ):
        client_of(server).task(1)
    with (
        trickling(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.01) as server,
        pytest.raises(RequestTimeoutError, match="no end after"),
    ):
        client_of(server).task(1)


def test_reads_a_late_response(monkeypatch):
    monkeypatch.setattr("prefect_cvat.http.slow_responses.WINDOW_SECONDS", 0.5)
    slow = Answer(parts=lambda: (time.sleep(1), b'{"version": "2.73.0"}')[1:])
    with scripted_server(slow) as server:
        assert client_of(server, timeout=(1, 1.2)).server_version() == "2.73.0"


# --- files that are not chunks ---


def plan_of(frames=2, chunk_type="imageset"):
    places = TaskChunks(frames, frames)
    task = SimpleNamespace(id=1, name="t", data_original_chunk_type=chunk_type, data_compressed_chunk_type="")
    return SimpleNamespace(task=task, chunk_place=places.place)


def test_removes_the_file_of_an_endless_chunk(monkeypatch, tmp_path):
    monkeypatch.setattr("prefect_cvat.media.chunk_download.MAX_CHUNK_BYTES", 2**22)
    with scripted_server(Answer(parts=endless)) as server, too_large("/api/tasks/1/data.* more than 4194304"):
        fetch_chunk(client_of(server), plan_of(), 0, tmp_path)
    assert list(tmp_path.iterdir()) == []
