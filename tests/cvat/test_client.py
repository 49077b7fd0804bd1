import errno
import io
import json
import tempfile

import pytest

from loopback_server import tls_server
from prefect_cvat import Client, exceptions
from prefect_cvat.exceptions import (
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    MediaError,
    NoDataError,
    NotFoundError,
    PermissionDeniedError,
    PrefectCvatError,
    RequestTimeoutError,
    ServerError,
    StorageError,
    TlsError,
    TooManyRequestsError,
    TransportError,
    UnsupportedTaskError,
)
from prefect_cvat.http.retry_policy import RetryPolicy
from scripted_server import HTML, JSON, Answer, scripted_server

QUICK = RetryPolicy(give_up_after=3.0, first_delay=0.01, longest_delay=0.05)


def quick_client(url: str, **options) -> Client:
    return Client(url, retry=QUICK, access_token="secret-token-value", **options)


def test_logs_in_and_reads_the_user(sandbox):
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        assert client.user().username == sandbox.user
        assert client.server_version() == "2.73.0"


def test_reports_a_wrong_password_without_showing_it(sandbox):
    client = Client(sandbox.url)
    with pytest.raises(
        AuthenticationError, match="refused to log in user 'admin'.*Unable to log in"
    ) as error:
        client.login(("admin", "wrong-password"))
    assert "wrong-password" not in str(error.value)
    assert isinstance(error.value, PermissionError)


def test_works_with_a_personal_access_token_and_never_shows_it(sandbox, client):
    token = client._transport.json("POST", "/api/auth/access_tokens", body={"name": "t", "read_only": False})
    with Client(sandbox.url, access_token=token["value"]) as other:
        assert other.user().username == sandbox.user
        assert token["value"] not in repr(other)
        assert token["value"] not in repr(vars(other._transport))


def test_closing_a_client_keeps_other_sessions(sandbox, client):
    with Client(sandbox.url) as other:
        other.login((sandbox.user, sandbox.password))
    assert client.user().username == sandbox.user


def test_logs_in_again_when_the_token_expires(sandbox):
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        client._transport.json("POST", "/api/auth/logout", body={})
        assert client.user().username == sandbox.user


def test_names_a_missing_task(client):
    with pytest.raises(NotFoundError, match="there is no task 999999") as error:
        client.task(999999)
    assert error.value.request_id
    assert isinstance(error.value, LookupError)


def test_refuses_a_task_of_another_user(sandbox, make_task):
    task_id = make_task(2)
    stranger = Client(sandbox.url)
    stranger._transport.json(
        "POST",
        "/api/auth/register",
        body={
            "username": "stranger",
            "email": "stranger@example.com",
            "password1": "Stranger-pass-1",
            "password2": "Stranger-pass-1",
            "first_name": "",
            "last_name": "",
        },
        anonymous=True,
    )
    stranger.login(("stranger", "Stranger-pass-1"))
    with pytest.raises(PermissionDeniedError, match="403.*permission"):
        stranger.task(task_id)


def test_reports_a_task_without_data(client):
    task = client.create_task("empty", [])
    with pytest.raises(NoDataError, match=rf"task {task.id} \('empty'\) has no data yet"):
        client.annotatable_task(task.id)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dimension": "3d", "media_type": "point_cloud"}, "3D task"),
        ({"dimension": "1d", "media_type": "audio"}, "audio task"),
        ({"data_original_chunk_type": "list"}, "made of list; only images and videos"),
    ],
)
def test_explains_why_a_task_cannot_be_annotated(fields, message):
    task = {"id": 1, "name": "t", "dimension": "2d", "media_type": "image", "size": 5, "data_chunk_size": 5}
    task |= {"data_original_chunk_type": "imageset", **fields}
    with (
        scripted_server(Answer(body=json.dumps(task).encode())) as server,
        pytest.raises(UnsupportedTaskError, match=message),
    ):
        quick_client(server.url).annotatable_task(1)


def test_joins_pages_in_order(client, make_task):
    task_id = make_task(6, segment_size=2)
    assert [job.start_frame for job in client.jobs(task_id)] == [0, 2, 4]
    pages = [
        {"count": 2, "next": "http://elsewhere/?page=2", "results": [{"id": 2, "name": "b"}]},
        {"count": 2, "next": None, "results": [{"id": 1, "name": "a"}]},
    ]
    with scripted_server(*(Answer(body=json.dumps(page).encode()) for page in pages)) as server:
        assert [label.name for label in quick_client(server.url).labels(1)] == ["a", "b"]
        assert "page=2" in server.requests[1][1]


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (400, b'{"detail": "JSON parse error"}', JSON, "JSON parse error"),
        (400, b'{"shapes": [{}, {"label_id": ["This field is required."]}]}', JSON,
         r"shapes\[1\]\.label_id: This field is required\."),
        (400, b'["label_id `9` is invalid"]', JSON, "label_id `9` is invalid"),
        (400, b'"a bare string"', JSON, "a bare string"),
        (400, b"plain text", {"Content-Type": "text/plain"}, "plain text"),
        (400, b"<html><head><title>413 Too Large</title></head></html>", HTML, "413 Too Large.*a proxy"),
        (406, b'{"detail": "Could not satisfy the request Accept header."}', JSON, "Accept header"),
    ],
    ids=["detail", "fields", "list", "string", "text", "page", "other 4xx"],
)  # fmt: skip
def test_formats_every_form_of_error_body_as_one_line(status, body, headers, expected):
    answer = Answer(status, body, {**headers, "X-Request-Id": "abc-123"})
    with scripted_server(answer) as server, pytest.raises(BadRequestError, match=expected) as error:
        quick_client(server.url).task(1)
    assert "\n" not in str(error.value)
    assert "request id abc-123" in str(error.value)


def test_retries_reads_after_transient_faults():
    faults = [
        Answer(502, b"<html><title>502 Bad Gateway</title></html>", HTML),
        Answer(reset=True),
        Answer(429, b"", {"Retry-After": "0"}),
        Answer(body=b'{"version": "1"', claimed_length=100),
        Answer(body=b'{"version": "2.73.0"}'),
    ]
    with scripted_server(*faults) as server:
        assert quick_client(server.url).server_version() == "2.73.0"
        assert len(server.requests) == 5


def test_retries_writes_only_after_429():
    faults = [Answer(429, b"", {"Retry-After": "0"}), Answer(502, b"", HTML)]
    with scripted_server(*faults) as server, pytest.raises(ServerError, match="502"):
        quick_client(server.url).create_job_annotations(1, {})
    assert len(server.requests) == 2


def test_gives_up_at_the_limit_without_waiting_for_retry_after():
    with scripted_server(Answer(429, b"", {"Retry-After": "3600"})) as server:
        with pytest.raises(TooManyRequestsError):
            quick_client(server.url).task(1)
        assert len(server.requests) == 1
    with scripted_server(Answer(503, b"", HTML)) as server:
        with pytest.raises(ServerError, match="503"):
            quick_client(server.url).task(1)
        assert len(server.requests) > 3


def test_retries_reads_but_not_writes_after_500():
    page = Answer(500, b"<title>Server Error (500)</title>", HTML)
    with scripted_server(page, Answer(body=b'{"version": "2.73.0"}')) as server:
        assert quick_client(server.url).server_version() == "2.73.0"
        assert len(server.requests) == 2
    with scripted_server(page) as server:
        with pytest.raises(ServerError, match=r"Server Error \(500\), CVAT's own page") as error:
            quick_client(server.url).create_job_annotations(1, {})
        assert len(server.requests) == 1
    assert "proxy" not in str(error.value)


def test_raises_a_timeout_if_the_server_is_silent():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = Client(url, timeout=(0.2, 0.2), retry=RetryPolicy(give_up_after=0), assume_reachable=True)
        with pytest.raises(RequestTimeoutError, match="no answer in time") as error:
            client.task(1)
    assert isinstance(error.value, TimeoutError)
    with pytest.raises(TransportError, match="refused") as error:
        client.task(1)
    assert isinstance(error.value, ConnectionError)


def test_sends_the_headers_that_cvat_needs():
    with scripted_server(Answer(body=b'{"tags": [], "shapes": [], "tracks": []}')) as server:
        client = quick_client(server.url, organization="lab")
        client.create_job_annotations(1, {})
        client.chunk(1, 0, io.BytesIO())
    (_, _, write), (_, path, chunk) = server.requests
    assert write["Accept"] == "application/vnd.cvat+json"
    assert write["Content-Type"] == "application/json"
    assert write["Authorization"] == "Bearer secret-token-value"
    assert write["X-Organization"] == "lab"
    assert chunk["Accept"] == "*/*"
    assert path == "/api/tasks/1/data?type=chunk&number=0&quality=original"


def test_refuses_responses_that_are_not_cvats():
    with (
        scripted_server(Answer(body=b"<html>hello</html>", headers=HTML)) as server,
        pytest.raises(InvalidResponseError, match="is this the address of a CVAT server"),
    ):
        quick_client(server.url).task(1)
    with (
        scripted_server(Answer(body=b'{"id": "x"}')) as server,
        pytest.raises(InvalidResponseError, match="/api/tasks/1 is not what CVAT sends: id"),
    ):
        quick_client(server.url).task(1)


ANNOTATIONS = (
    b'{"version": 7, "tracks": [{"id": 1, "label_id": 1, "frame": 3, "shapes": ['
    b'{"id": 9, "frame": 3, "type": "points", "points": [1, 2]}]}],'
    b' "tags": [{"id": 1, "label_id": 1, "frame": 0}, {"id": 2, "label_id": 1, "frame": 0}],'
    b' "shapes": [{"id": 5, "label_id": 1, "frame": 0, "type": "rectangle",'
    b' "points": [0.1, 12.5, 3e2, 4], "new": null}]}'
)


def each_annotation_of(*answers):
    with scripted_server(*answers) as server:
        return list(quick_client(server.url).iter_job_annotations(1)), len(server.requests)


def test_yields_annotations_with_their_kind_in_the_order_of_the_response():
    points = [0.1, 12.5, 300.0, 4]
    keyframe = {"id": 9, "frame": 3, "type": "points", "points": [1, 2]}
    found, _ = each_annotation_of(Answer(body=ANNOTATIONS))
    assert found == [
        ("tracks", {"id": 1, "label_id": 1, "frame": 3, "shapes": [keyframe]}),
        ("tags", {"id": 1, "label_id": 1, "frame": 0}),
        ("tags", {"id": 2, "label_id": 1, "frame": 0}),
        ("shapes", {"id": 5, "label_id": 1, "frame": 0, "type": "rectangle", "points": points, "new": None}),
    ]
    assert each_annotation_of(Answer(body=b'{"tags": [], "shapes": [], "tracks": []}'))[0] == []


def test_reads_shapes_next_to_a_track_without_keyframes():
    shape = {"id": 5, "label_id": 1, "frame": 0, "type": "points", "points": [1, 2]}
    track = {"id": 1, "label_id": 1, "frame": 0, "shapes": []}
    body = {"version": 0, "tags": [], "shapes": [shape], "tracks": [track]}
    found, _ = each_annotation_of(Answer(body=json.dumps(body, separators=(",", ":")).encode()))
    assert found == [("shapes", shape), ("tracks", track)]


def test_streams_the_same_annotations_as_a_single_read(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    label = client.labels(task_id)[0].id
    common = {"frame": 1, "label_id": label, "source": "auto"}
    shapes = [{**common, "type": "rectangle", "points": [x / 7, 1, 9, 9.25]} for x in range(50)]
    client.create_job_annotations(job.id, {"tags": [common], "shapes": shapes})
    whole = client.job_annotations(job.id)
    one_by_one = list(client.iter_job_annotations(job.id))
    assert one_by_one == [("tags", whole.tags[0]), *(("shapes", shape) for shape in whole.shapes)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(body=b"<html><title>Sign in</title></html>", headers=HTML), "/api/jobs/1/annotations is not what"),
        (Answer(body=b""), "/api/jobs/1/annotations is not what"),
        (Answer(body=ANNOTATIONS[:-1]), "/api/jobs/1/annotations is not what"),
        (Answer(body=ANNOTATIONS[:60]), "/api/jobs/1/annotations is not what"),
        (Answer(body=b"[]"), "/api/jobs/1/annotations is not what"),
        (Answer(body=b"null"), "/api/jobs/1/annotations is not what"),
        (Answer(body=b'{"detail": "busy"}'), "/api/jobs/1/annotations is not what"),
        (Answer(body=b'{"tags": {}, "shapes": null, "tracks": []}'), "/api/jobs/1/annotations is not what"),
        (Answer(body=ANNOTATIONS.replace(b'"id": 2, ', b"")), "among the tags is one without an id"),
        (Answer(body=ANNOTATIONS.replace(b'{"id": 2, "label_id": 1, "frame": 0}', b"2")), "among the tags is one without an id"),
    ],
    ids=["page", "empty", "one byte short", "cut off", "list", "null", "other", "no lists", "no id", "no dict"],
)  # fmt: skip
def test_refuses_annotations_that_are_not_cvats(answer, message):
    with pytest.raises(InvalidResponseError, match=message):
        each_annotation_of(answer)


def test_restarts_an_interrupted_download():
    broken = Answer(body=ANNOTATIONS[:40], claimed_length=len(ANNOTATIONS))
    longer = Answer(body=b"x" * 2**21, claimed_length=2**22)  # more than one part is written
    found, requests = each_annotation_of(broken, longer, Answer(502, b"", HTML), Answer(body=ANNOTATIONS))
    assert requests == 4
    assert [annotation["id"] for _, annotation in found] == [1, 1, 2, 5]


def test_reads_large_jobs_from_disk():
    tags = [{"id": number, "label_id": 1, "frame": 0, "comment": "x" * 200} for number in range(10_000)]
    found, _ = each_annotation_of(
        Answer(body=json.dumps({"tags": tags, "shapes": [], "tracks": []}).encode())
    )
    assert found == [("tags", tag) for tag in tags]


def test_raises_storage_error_if_the_disk_is_full(monkeypatch):
    def rollover(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    large = Answer(body=b'{"tags": [], "shapes": [], "tracks": []}' + b" " * 2**20)
    with scripted_server(large) as server:
        with pytest.raises(StorageError, match="/api/jobs/1/annotations cannot be written: .*No space left"):
            list(quick_client(server.url).iter_job_annotations(1))
        assert len(server.requests) == 1


def test_raises_tls_error_for_an_unverified_certificate(tmp_path):
    with tls_server(tmp_path) as (url, certificate):
        with pytest.raises(TlsError, match="certificate.*verify="):
            quick_client(url).task(1)
        with pytest.raises(NotFoundError):
            quick_client(url, verify=str(certificate)).task(1)


def test_reports_why_an_image_cannot_be_processed(client):
    task = client.create_task("broken", [])
    with pytest.raises(MediaError, match=f"could not process the images of task {task.id}"):
        client.upload_images(task.id, {"a.png": b"not an image"})


def test_errors_are_prefect_cvat_errors_and_builtins():
    for name in set(exceptions.__all__) - {"is_transient"}:
        error_class = getattr(exceptions, name)
        assert issubclass(error_class, PrefectCvatError)
        if name not in ("PrefectCvatError", "ApiError"):
            builtins = [c for c in error_class.__mro__ if c.__module__ == "builtins"]
            assert builtins[0] not in (Exception, BaseException, object), name


@pytest.mark.parametrize("token", ["", " ", "secret token", "secret\u2026", "secret\ntoken"])
def test_refuses_invalid_tokens_without_showing_them(token):
    with pytest.raises(ValueError, match="copy it again") as caught:
        Client("cvat.example.com", access_token=token)
    assert "secret" not in str(caught.value)


def test_accepts_a_token_with_a_line_break(sandbox, client):
    made = client._transport.json("POST", "/api/auth/access_tokens", body={"name": "t", "read_only": False})
    with Client(sandbox.url, access_token=made["value"] + "\n") as other:
        assert other.user().username == sandbox.user


def test_names_a_missing_ca_bundle(tmp_path):
    with pytest.raises(exceptions.TlsError, match="there is no CA bundle at"):
        Client("cvat.example.com", verify=str(tmp_path / "ca.pem"))


def test_does_not_retry_after_a_certificate_error():
    assert exceptions.is_transient(exceptions.TransportError("reset"))
    assert not exceptions.is_transient(exceptions.TlsError("not verified"))


@pytest.mark.parametrize("space", ["", " "])
def test_reads_strings_that_look_like_empty_lists(space):
    tag = {
        "id": 1,
        "frame": 0,
        "label_id": 1,
        "attributes": [{"spec_id": 1, "value": '"shapes":[] "tracks":[]'}],
    }
    shape = {"frame": 0, "label_id": 1, "type": "points", "points": [1, 2]}
    shapes = [{"id": number, **shape} for number in range(2)]
    body = json.dumps({"tags": [tag], "shapes": shapes, "tracks": []}, separators=(",", f":{space}")).encode()
    with scripted_server(Answer(200, body)) as server, Client(server.url, access_token="x") as client:
        kinds = [(kind, item["id"]) for kind, item in client.iter_job_annotations(1)]
    assert kinds == [("tags", 1), ("shapes", 0), ("shapes", 1)]
