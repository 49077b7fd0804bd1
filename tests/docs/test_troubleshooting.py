"""docs/troubleshooting.md: every message in its tables occurs. The causes are in the order of the page."""

import io
import itertools
import re
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from click.testing import CliRunner

from docs import model_causes
from pictures import picture
from prefect_cvat import Client, annotate_task, for_cvat_sdk
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    keypoint_spec,
    label_spec,
    mask,
    rectangle,
    skeleton_label_spec,
)
from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.loading import load_function, load_function_file, parse_parameter
from prefect_cvat.cli.app import app
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.masks import encode_mask
from prefect_cvat.media.chunk_checks import problem_of_chunk
from scripted_server import HTML, Answer, scripted_server

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)

Cause = Callable[[SimpleNamespace], object]
CAUSES: list[Cause] = []

pytestmark = pytest.mark.filterwarnings("default")


def cause(reproduce: Cause) -> Cause:
    CAUSES.append(reproduce)
    return reproduce


@pytest.fixture(scope="module")
def given(sandbox, tmp_path_factory):
    """A client, a task of one image and a folder, for the causes."""
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        task = client.create_task("a task", [label_spec("person", None)])
        client.upload_images(task.id, {"one.png": picture()})
        folder = tmp_path_factory.mktemp("functions")
        yield SimpleNamespace(
            client=client, url=sandbox.url, task=task.id, folder=folder, faults=sandbox.faults
        )


def connect(given, **options):
    client = Client(given.url, **options)
    client.login(("admin", "admin"))
    return client


def annotator_of(given, job):
    """A user who is assigned a job, but not its task."""
    client = Client(given.url)
    body = {"username": f"annotator{job}", "password1": "p", "password2": "p"}
    client._transport.json("POST", "/api/auth/register", body=body, anonymous=True)
    client.login((body["username"], "p"))
    given.client.json("PATCH", f"/api/jobs/{job}", body={"assignee": client.user().id})
    return client


# --- reaching CVAT ---


@cause
def no_credentials(given):
    arguments = ["--server-host", given.url, "annotate", "1", "--function", "nanodet_detection"]
    done = CliRunner().invoke(app, arguments, env={"CVAT_ACCESS_TOKEN": None})
    assert done.exit_code == 2
    text = re.sub(r"[│╭╮╰╯─\s]+", " ", done.output)
    raise ValueError(re.search(r"no credentials.*--profile", text)[0])


@cause
def wrong_password(given):
    Client(given.url).login(("admin", "wrong"))


@cause
def nothing_listens(given):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Client(f"http://127.0.0.1:{port}", access_token="x", retry=RetryPolicy(give_up_after=0)).task(1)


@cause
def no_such_name(given):
    Client("http://no-such-host.invalid", access_token="x", retry=RetryPolicy(give_up_after=0)).task(1)


@cause
def nothing_answers(given):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/silent"
        Client(url, timeout=(0.2, 0.2), retry=RetryPolicy(give_up_after=0)).task(1)


@cause
def another_address(given):
    moved = Answer(308, b"", {"Location": "https://cvat.example.com/api/server/about"})
    with scripted_server(contact=moved) as server:
        Client(server.url).login(("alice", "secret"))


@cause
def a_token_that_may_only_read(given):
    body = {"name": "reader", "read_only": True}
    token = given.client.json("POST", "/api/auth/access_tokens", body=body)["value"]
    found = DetectionFunctionSpec(labels=[label_spec("person", 0)])
    function = SimpleNamespace(spec=found, detect=lambda context, image: [])
    annotate_task(Client(given.url, access_token=token), given.task, function)


@cause
def plain_http(given):
    Client(given.url.replace("http:", "https:"), access_token="x").task(1)


@cause
def a_page_answers(given):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><title>Welcome</title></html>")

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            Client(f"http://127.0.0.1:{server.server_port}", access_token="x").task(1)
        finally:
            server.shutdown()


@cause
def a_page_answers_for_a_chunk(given):
    with scripted_server(Answer(headers=HTML, body=b"<html><title>Sign in</title></html>")) as server:
        client = Client(server.url, access_token="x", retry=RetryPolicy(give_up_after=0))
        client.chunk(1, 0, io.BytesIO(), validate=lambda file: problem_of_chunk(file, "imageset", 1))


@cause
def cvat_fails(given):
    given.faults.set([{"methods": ["GET"], "path": "/tasks/", "fault": {"kind": "status", "status": 500}}])
    try:
        Client(given.url, access_token="x", retry=RetryPolicy(give_up_after=0)).task(1)
    finally:
        given.faults.clear()


@cause
def an_answer_without_end(given):
    with scripted_server(Answer(parts=lambda: itertools.repeat(bytes(2**20)))) as server:
        Client(server.url, access_token="x").task(1)


@cause
def no_address(given):
    Client("ftp://cvat.example.com")


@cause
def no_such_task(given):
    given.client.task(999)


@cause
def no_such_organization(given):
    connect(given, organization="nosuch").task(given.task)


@cause
def another_organization(given):
    for slug in ("lab", "other"):
        given.client.json("POST", "/api/organizations", body={"slug": slug})
    task = connect(given, organization="lab").create_task("inside", [label_spec("person", None)]).id
    connect(given, organization="other").task(task)


@cause
def jobs_only(given):
    [job] = given.client.jobs(given.task)
    annotate_task(annotator_of(given, job.id), given.task, function())


# --- the task ---


@cause
def no_data(given):
    annotate_task(
        given.client, given.client.create_task("empty", [label_spec("person", None)]).id, function()
    )


@cause
def no_images(given):
    task = given.client.create_task("broken", [label_spec("person", None)])
    given.client.upload_images(task.id, {"broken.png": b"this is not an image"})


@cause
def jobs_are_hidden(given):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "visible_jobs", lambda *_: [])
        annotate_task(given.client, given.task, function())


@cause
def honeypots_are_not_told(given):
    pool = {"mode": "gt_pool", "frame_selection_method": "random_uniform", "frame_count": 2}
    task = given.client.create_task("a pool", [label_spec("person", None)]).id
    given.client.upload_images(
        task,
        {f"{i}.png": picture(seed=i) for i in range(6)},
        sorting_method="random",
        validation_params={**pool, "frames_per_job_count": 1},
    )
    job = next(job for job in given.client.jobs(task) if job.type == "annotation").id
    annotate_task(annotator_of(given, job), task, function(), jobs=[job])


@cause
def nobody_has_annotated(given):
    evaluate_task(given.client, given.task, function())


@cause
def what_was_stored_is_lost(given):
    task = given.client.create_task("lossy", [label_spec("person", None)]).id
    given.client.upload_images(task, {"one.png": picture()})
    loses = {"kind": "store_part", "share": 0}
    given.faults.set([{"methods": ["PATCH"], "actions": ["create"], "fault": loses}])
    try:
        annotate_task(given.client, task, function(lambda *_: [rectangle(0, [1, 1, 9, 9])]), use_cache=False)
    finally:
        given.faults.clear()


@cause
def two_runs(given):
    def detect(context, image):
        with pytest.raises(PrefectCvatError) as caught:
            annotate_task(given.client, given.task, function())
        errors.append(caught.value)
        return []

    errors = []
    first = function(detect)
    first.version = "1"
    annotate_task(given.client, given.task, first, use_cache=False)
    raise errors[0]


# --- loading a function ---


@cause
def unknown_function(given):
    load_function("nanodet")


@cause
def a_path(given):
    load_function("my_function.py")


@cause
def a_module_that_is_not_allowed(given):
    load_function("our.functions")


@cause
def no_type(given):
    parse_parameter("size=640")


@cause
def wrong_parameter(given):
    load_function("nanodet_detection", {"threshold": 0.5})


@cause
def no_batch_size(given):
    load_function("grabcut_interaction", {"batch_size": 2})


@cause
def no_function(given):
    path = given.folder / "nothing.py"
    path.write_text("x = 1\n")
    load_function_file(path)


@cause
def no_torch(given):
    with mock.patch.dict(sys.modules, {"torch": None}):
        sys.modules.pop("prefect_cvat.auto_annotation.functions.nanodet_detection", None)
        load_function("nanodet_detection")


@cause
def no_libgl(given):
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    with mock.patch("importlib.import_module", side_effect=error):
        import_extra("cv2")


@cause
def no_such_device(given):
    load_function("nanodet_detection", {"device": "cuda:99"})


for words_that_cannot_be in (
    model_causes.model_that_is_nowhere,
    model_causes.model_without_a_tokenizer,
    model_causes.words_that_are_too_long,
    model_causes.words_of_another_language,
):
    cause(words_that_cannot_be)


@cause
def no_function_for_cvat_cli(given):
    for_cvat_sdk.create(score_threshold=0.5)


# --- errors of functions ---


def function(detect=lambda context, image: [], label="person", label_type="rectangle"):
    spec = DetectionFunctionSpec(labels=[label_spec(label, 0, type=label_type)])
    return SimpleNamespace(spec=spec, detect=detect)


@cause
def unmatched_label(given):
    annotate_task(given.client, given.task, function(label="car"))


@cause
def a_skeleton_without_all_keypoints(given):
    keypoints = [keypoint_spec("head", None), keypoint_spec("hand", None)]
    task = given.client.create_task("skeletons", [skeleton_label_spec("body", None, keypoints)])
    given.client.upload_images(task.id, {"one.png": picture()})
    spec = DetectionFunctionSpec(labels=[skeleton_label_spec("body", 0, [keypoint_spec("head", 1)])])
    annotate_task(given.client, task.id, SimpleNamespace(spec=spec, detect=lambda context, image: []))


@cause
def unknown_label_id(given):
    annotate_task(given.client, given.task, function(lambda context, image: [rectangle(9, [0, 0, 5, 5])]))


def a_mask(context, image):
    return [mask(0, encode_mask(np.ones((5, 5), bool)))]


@cause
def wrong_type(given):
    annotate_task(given.client, given.task, function(a_mask))


@cause
def a_mask_in_spite_of_polygons(given):
    annotate_task(given.client, given.task, function(a_mask, label_type="any"), conv_mask_to_poly=True)


@cause
def code_that_fails(given):
    annotate_task(given.client, given.task, function(lambda context, image: [1 / 0]))


@cause
def a_device_that_is_too_small(given):
    annotate_task(given.client, given.task, model_causes.function_without_memory(given))


@cause
def a_device_that_fails(given):
    def detect(context, image):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    annotate_task(given.client, given.task, function(detect))


# --- the tests ---


@pytest.mark.parametrize(("message", "reproduce"), list(zip(MESSAGES, CAUSES, strict=True)))
def test_each_message_occurs_for_its_cause(message, reproduce, given):
    with pytest.raises((PrefectCvatError, ValueError)) as caught:
        reproduce(given)
    pattern = ".*".join(map(re.escape, message.split("...")))
    assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)


def test_no_annotations_of_invalid_functions_remain(client, make_task):
    task_id = make_task(3)

    def detect(context, image):
        if context.frame_name == "0002.png":
            raise ZeroDivisionError
        return [rectangle(0, [0, 0, 5, 5])]

    with pytest.raises(BadFunctionError):
        annotate_task(client, task_id, function(detect))
    assert client.task_annotations(task_id).shapes == []
