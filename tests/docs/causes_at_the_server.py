"""Causes of the messages under "Reaching CVAT"."""

import io
import itertools
import re
import socket
from types import SimpleNamespace

from click.testing import CliRunner

from docs.causes import Causes, annotator_of, connect, function
from ports import free_port
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.cli.app import app
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.media.chunk_checks import problem_of_chunk
from scripted_server import HTML, Answer, scripted_server

cause = Causes()


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
    Client(f"http://127.0.0.1:{free_port()}", access_token="x", retry=RetryPolicy(give_up_after=0)).task(1)


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
    page = Answer(headers=HTML, body=b"<html><title>Welcome</title></html>")
    with scripted_server(page, contact=page) as server:
        Client(server.url, access_token="x").task(1)


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
