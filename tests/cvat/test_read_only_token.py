"""A read-only access token is refused before any image is fetched; runs that write nothing accept it."""

from types import SimpleNamespace

import pytest

from prefect_cvat import (
    Client,
    annotate_task,
    evaluate_task,
    export_task,
    refine_task,
    track_task,
    undo_run,
)
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    TrackingFunctionSpec,
    label_spec,
    rectangle,
)
from prefect_cvat.cli.report_options import RunReportOptions
from prefect_cvat.cli.run_output import execute
from prefect_cvat.exceptions import InvalidResponseError, NotFoundError, ReadOnlyTokenError, is_transient
from prefect_cvat.http.transport import Transport
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from scripted_server import Answer, scripted_server
from served_chunks import without_chunks

DETECTOR = SimpleNamespace(
    spec=DetectionFunctionSpec(labels=[label_spec("car", 0)]),
    detect=lambda context, image: [rectangle(0, [1, 2, 9, 8])],
)
TRACKER = SimpleNamespace(
    spec=TrackingFunctionSpec(supported_shape_types={"rectangle"}),
    init_tracking_state=lambda context, image, shape: shape,
    track=lambda context, image, state: state,
)
REFINER = SimpleNamespace(
    spec=InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0),
    detect=lambda context, image, prompts: [],
)


def token(client, *, read_only):
    body = {"name": "a token", "read_only": read_only}
    return client.json("POST", "/api/auth/access_tokens", body=body)["value"]


@pytest.fixture
def reader(client, sandbox):
    with Client(sandbox.url, access_token=token(client, read_only=True)) as reader:
        yield reader


@pytest.fixture
def task_id(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    [car, _] = client.labels(task_id)
    shape = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [1.0, 1.0, 9.0, 9.0]}
    client.create_job_annotations(job.id, {"shapes": [{**shape, "source": "manual"}]})
    return task_id


@pytest.mark.parametrize(
    "work",
    [
        lambda client, task_id: annotate_task(client, task_id, DETECTOR),
        lambda client, task_id: track_task(client, task_id, DETECTOR),
        lambda client, task_id: track_task(client, task_id, TRACKER),
        lambda client, task_id: refine_task(client, task_id, REFINER),
    ],
    ids=["annotate", "track", "follow", "refine"],
)
def test_reports_a_read_only_token_before_downloading(client, reader, task_id, work, monkeypatch):
    without_chunks(monkeypatch)
    before = client.task_annotations(task_id)
    with pytest.raises(ReadOnlyTokenError, match=f"the access token for {client.url} is read-only") as error:
        work(reader, task_id)
    assert isinstance(error.value, PermissionError)
    assert not is_transient(error.value)
    assert client.task_annotations(task_id) == before


def test_read_only_token_allows_only_a_dry_run_of_undo(client, reader, task_id):
    run = annotate_task(client, task_id, DETECTOR).run
    with pytest.raises(ReadOnlyTokenError):
        undo_run(reader, run)
    assert undo_run(reader, run, dry_run=True).removed == 2
    assert undo_run(client, run).removed == 2


def test_dry_run_works_with_a_read_only_token(reader, task_id, capsys):
    execute(AnnotateRun(reader, task_id, DETECTOR, Options()), {}, RunReportOptions(dry_run=True))
    assert "2 frames" in capsys.readouterr().out


def test_evaluation_accepts_a_read_only_token(reader, task_id):
    assert evaluate_task(reader, task_id, DETECTOR).shapes


def test_export_accepts_a_read_only_token(reader, task_id, tmp_path):
    export_task(reader, task_id, DETECTOR, folder=tmp_path / "dataset")
    assert (tmp_path / "dataset").is_dir()


def test_checks_a_token_once(client, sandbox, task_id, monkeypatch):
    asked = []
    original = Transport.json

    def json(self, method, path, **options):
        asked.append(path)
        return original(self, method, path, **options)

    monkeypatch.setattr(Transport, "json", json)
    with Client(sandbox.url, access_token=token(client, read_only=False)) as writer:
        assert annotate_task(writer, task_id, DETECTOR).added == 2
        writer.check_may_write()
    assert asked.count("/api/auth/access_tokens/self") == 1


def test_does_not_check_tokens_after_a_login(client, task_id, monkeypatch):
    monkeypatch.setattr(Transport, "json", lambda *_, **__: pytest.fail("it asked"))
    client.check_may_write()


def test_accepts_servers_without_access_tokens():
    no_route = Answer(404, b"<h1>Not Found</h1>", {"Content-Type": "text/html"})
    with scripted_server(no_route) as server:
        client = Client(server.url, access_token="x")
        client.check_may_write()
        with pytest.raises(NotFoundError):
            client.task(1)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"read_only": "perhaps"}', b""], ids=repr)
def test_refuses_an_invalid_response_about_a_token(body):
    with scripted_server(Answer(body=body)) as server, pytest.raises(InvalidResponseError):
        Client(server.url, access_token="x").check_may_write()
