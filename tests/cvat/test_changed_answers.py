"""Responses that CVAT would not send: each ends the run with a named error, and no partial write."""

import contextlib
import copy
import hashlib
import json
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changing_proxy import change_bodies, changing_proxy
from prefect_cvat import Client, annotate_task, refine_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import InvalidResponseError, PrefectCvatError
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.records.record_reader import find_run, read_run, recorded_runs
from prefect_cvat.settings import Settings

ROUTES = {
    "task": (
        "/api/tasks/{task}",
        ["size", "id", "data_chunk_size", "organization", "jobs", "validation_mode"],
    ),
    "meta": (
        "/api/tasks/{task}/data/meta",
        ["chunk_size", "size", "frames", "deleted_frames", "chunks_updated_date", "frame_filter"],
    ),
    "layout": ("/api/tasks/{task}/validation_layout", ["mode", "validation_frames", "honeypot_frames"]),
    "jobs": (
        "/api/jobs?",
        ["results", "next", "results.0.id", "results.0.start_frame", "results.0.stop_frame"],
    ),
    "labels": ("/api/labels?", ["results", "results.0.id", "results.0.attributes", "results.0.name"]),
    "annotations": (
        "/api/jobs/{job}/annotations",
        ["tags", "shapes", "tracks"]
        + [
            f"shapes.0.{name}"
            for name in ("id", "frame", "label_id", "points", "points.0", "type", "attributes")
        ]
        + ["shapes.0.elements", "shapes.0.source", "shapes.0.score", "shapes.0.rotation", "shapes.0.group"],
    ),
}
VALUES = [0, -1, 10**30, "a string", None, [], {}, 1.5, [None], [10**9]]
MISSING = ...


def put(answer, path, value):
    """Change a field of an answer, or take it away."""
    *parents, name = [int(part) if part.isdigit() else part for part in path.split(".")]
    for parent in parents:
        answer = answer[parent]
    if value is MISSING:
        del answer[name]
    else:
        answer[name] = value


@pytest.fixture
def hostile(sandbox, client, make_task):
    """Answer as the sandbox does, except for one route that a test has changed."""
    task_id = make_task(4)
    [job] = client.jobs(task_id)
    label = client.labels(task_id)[0].id
    shape = {"type": "rectangle", "frame": 1, "label_id": label, "points": [1, 2, 11, 12], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [shape]})
    before = client.job_annotations(job.id).shapes
    told = SimpleNamespace(route=None, change=None)

    def change(method, path, body):
        if method != "GET" or told.route is None:
            return body
        if told.route == ROUTES["layout"][0] and path == f"/api/tasks/{task_id}":  # so that it is asked for
            answer = json.loads(body)
            del answer["validation_mode"]
            return json.dumps(answer).encode()
        route = told.route.format(task=task_id, job=job.id)
        if path != route and not (route.endswith("?") and path.startswith(route)):
            return body
        return told.change(body)

    with (
        changing_proxy(sandbox.url, change_bodies(change)) as url,
        Client(url, retry=RetryPolicy(give_up_after=1)) as client,
    ):
        client.login((sandbox.user, sandbox.password))
        yield SimpleNamespace(task_id=task_id, job=job, client=client, told=told, before=before)


def boxes():
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    return SimpleNamespace(spec=spec, detect=lambda context, image: [rectangle(0, [1, 2, 30, 40])])


@pytest.mark.parametrize(("route", "fields"), ROUTES.values(), ids=ROUTES)
def test_tolerates_or_reports_every_changed_field(hostile, client, route, fields):
    refused = 0
    for field in fields:
        for value in [MISSING, *VALUES]:

            def change(body, field=field, value=value):
                answer = json.loads(body)
                put(answer, field, copy.deepcopy(value))
                return json.dumps(answer).encode()

            hostile.told.route, hostile.told.change = route, change
            with contextlib.suppress(PrefectCvatError):  # any other error fails the test
                refused += 1
                annotate_task(hostile.client, hostile.task_id, boxes(), existing="replace_auto")
                refused -= 1
            shapes = client.job_annotations(hostile.job.id).shapes
            assert hostile.before[0] in shapes, f"{field} = {value!r}: what a human drew has gone"
    assert refused > len(fields), "most of these are refused"


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b'"text"', b"7", b"{}", b'{"results": 7}', b"<html>"]
)
@pytest.mark.parametrize("route", [route for route, _ in ROUTES.values()], ids=ROUTES)
def test_refuses_unexpected_content_of_status_200(hostile, route, content):
    hostile.told.route, hostile.told.change = route, lambda _: content
    with pytest.raises(InvalidResponseError, match=r"api/(tasks|jobs|labels)|400|frames"):
        annotate_task(hostile.client, hostile.task_id, boxes(), existing="replace_auto")


@pytest.mark.parametrize(
    ("route", "field", "value", "message"),
    [
        ("meta", "chunk_size", 0, "/api/tasks/{task}/data/meta is not what CVAT sends: chunk_size: Input"),
        ("meta", "frames", [{"name": "a"}] * 4, "/api/tasks/{task}/data/meta .*frames.0.width: should be"),
        (
            "meta",
            "deleted_frames",
            [4],
            "task {task} has the frames 0-3, but its deleted_frames has frame 4",
        ),
        ("task", "size", "a lot", "/api/tasks/{task} is not what CVAT sends: size: "),
        (
            "jobs",
            "results.0.stop_frame",
            4,
            "task {task} has the frames 0-3, but its job {job} has frame 4",
        ),
        ("annotations", "shapes.0.frame", "1", "/api/jobs/{job}/annotations .*shapes.frame: Input should be"),
    ],
)
def test_errors_name_route_and_field(hostile, route, field, value, message):
    def change(body):
        answer = json.loads(body)
        put(answer, field, value)
        return json.dumps(answer).encode()

    hostile.told.route, hostile.told.change = ROUTES[route][0], change
    with pytest.raises(InvalidResponseError, match=message.format(task=hostile.task_id, job=hostile.job.id)):
        annotate_task(hostile.client, hostile.task_id, boxes(), existing="replace_auto")


# --- files read from disk ---


class Counting:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    version = "1"

    def __init__(self):
        self.seen = 0

    def detect(self, context, image):
        self.seen += 1
        return [rectangle(1, [0, 0, 9, 9], score=0.5)]


def entry(content):
    return hashlib.sha256(content).digest() + content


def kept(shape):
    shape = {"type": "rectangle", "label_id": 1, "frame": 0, "points": [0, 0, 9, 9], **shape}
    frames = [{"frame": i, "tags": [], "shapes": [shape]} for i in range(2)]
    return entry(zlib.compress(json.dumps(frames).encode()))


BROKEN_ENTRIES = {
    "empty": b"",
    "no digest": b"short",
    "not compressed": entry(b"plain"),
    "cut short": entry(zlib.compress(b"[]" * 1000)[:20]),
    "no JSON": entry(zlib.compress(b"{")),
    "deep": entry(zlib.compress(b"[" * 200_000)),
    "an object": entry(zlib.compress(b"{}")),
    "frames without fields": entry(zlib.compress(b'[{"frame": 0}]')),
    "a label that the function does not have": kept({"label_id": 77}),
    "points that no rectangle has": kept({"points": [1, 2, 3]}),
    "points that are no numbers": kept({"points": ["x"]}),
    "a field that there is not": kept({"colour": "red"}),
    "a mask that does not fill its box": kept({"type": "mask", "points": [1, 0, 0, 9, 9]}),
}


@pytest.mark.parametrize("content", BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES)
def test_detects_again_if_cached_detections_are_broken(client, make_task, content):
    cache = DetectionCache()
    cache.clear()
    task_id = make_task(2)
    annotate_task(client, task_id, Counting())
    [(path, _)] = cache.entries()
    good = path.read_bytes()
    path.write_bytes(content)

    function = Counting()
    report = annotate_task(client, task_id, function)

    assert function.seen == 2
    assert (report.added, report.already_there) == (0, 2)
    assert path.read_bytes() == good
    third = Counting()
    annotate_task(client, task_id, third)
    assert third.seen == 0


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 3))
def test_reads_or_reports_every_changed_run_record(tmp_path_factory, garbage, place):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_CVAT_RUNS_DIR", str(folder))
        run = folder / "0123456789"
        run.mkdir()
        lines = [
            b'{"format":2}',
            b'{"job":7,"after":{"shapes":1},"sent":["4f"]}',
            b'{"job":7,"settled":true}',
        ]
        lines.insert(place, garbage)
        (run / "a.jsonl").write_bytes(b"\n".join(lines))
        assert Settings().runs_dir == folder
        recorded_runs()
        with pytest.raises(PrefectCvatError):
            read_run(find_run("0123456789"))


def test_refine_reports_an_invalid_field(hostile):
    def change(body):
        answer = json.loads(body)
        del answer["shapes"][0]["points"]
        answer["shapes"][0]["label_id"] = "car"
        return json.dumps(answer).encode()

    hostile.told.route, hostile.told.change = ROUTES["annotations"][0], change
    spec = SimpleNamespace(supported_prompts=[], shape_type="mask")
    with pytest.raises(PrefectCvatError):
        refine_task(hostile.client, hostile.task_id, SimpleNamespace(spec=spec))
