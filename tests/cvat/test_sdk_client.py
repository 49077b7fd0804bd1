"""The official client in our functions: its address, organization and credentials."""

import json
from types import SimpleNamespace

import cvat_sdk
import pytest
from cvat_sdk.core.client import Config

from pictures import picture
from prefect_cvat import annotate_task, evaluate_task, export_task, refine_task, track_task, undo_run
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    label_spec,
    rectangle,
)
from prefect_cvat.cvat.sdk_client import own_client
from prefect_cvat.exceptions import AuthenticationError, OrganizationError, ReadOnlyTokenError

FINDS_A_CAR = SimpleNamespace(
    spec=DetectionFunctionSpec(labels=[label_spec("car", 0)]),
    detect=lambda context, image: [rectangle(0, [10, 10, 30, 30], score=0.9)],
    version="1",
)
OUTLINES = SimpleNamespace(
    spec=InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1),
    detect=lambda context, image, prompts: [
        InteractionResultShape(type="polygon", points=[10, 10, 30, 10, 30, 30])
    ],
)


@pytest.fixture
def sdk_client(sandbox):
    """A client of cvat-sdk that is logged in with user and password: it has a session and a CSRF token."""
    with cvat_sdk.make_client(sandbox.url, credentials=(sandbox.user, sandbox.password)) as client:
        yield client


@pytest.fixture
def token_client(sandbox, client):
    def token_client(**fields):
        token = client.json("POST", "/api/auth/access_tokens", body={"name": "a token", **fields})["value"]
        return cvat_sdk.make_client(sandbox.url, access_token=token)

    return token_client


@pytest.fixture
def task_id(client):
    task = client.create_task("cars", [label_spec("car", None)])
    client.upload_images(task.id, {f"{i}.png": picture(seed=i) for i in range(3)})
    return task.id


def test_annotates_with_a_session(sdk_client, client, task_id):
    report = annotate_task(client=sdk_client, task_id=task_id, function=FINDS_A_CAR)
    assert report.frames == 3
    assert len(client.task_annotations(task_id).shapes) == 3


def test_annotates_with_an_access_token(token_client, client, task_id):
    annotate_task(token_client(), task_id, FINDS_A_CAR)
    assert len(client.task_annotations(task_id).shapes) == 3


def test_read_only_token_is_refused_before_anything_is_done(token_client, client, task_id):
    with pytest.raises(ReadOnlyTokenError):
        annotate_task(token_client(read_only=True), task_id, FINDS_A_CAR)
    assert client.task_annotations(task_id).shapes == []


def test_all_functions_that_take_a_client(sdk_client, client, task_id, tmp_path):
    added = annotate_task(sdk_client, task_id, FINDS_A_CAR)
    export_task(sdk_client, task_id, folder=tmp_path / "coco")
    exported = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert len(exported["annotations"]) == 3
    undo_run(sdk_client, added.run)
    assert client.task_annotations(task_id).shapes == []

    label = client.labels(task_id)[0].id
    box = {"label_id": label, "type": "rectangle", "points": [10, 10, 30, 30], "frame": 0}
    client.json("PATCH", f"/api/tasks/{task_id}/annotations?action=create", body={"shapes": [box]})
    assert evaluate_task(sdk_client, task_id, FINDS_A_CAR).shapes["bbox"].ap == pytest.approx(1)
    refine_task(sdk_client, task_id, OUTLINES, to="polygon")
    assert [shape["type"] for shape in client.task_annotations(task_id).shapes] == ["polygon"]
    track_task(sdk_client, task_id, FINDS_A_CAR)
    assert len(client.task_annotations(task_id).tracks) == 1


def test_works_in_the_organization_of_the_client(sdk_client, client, task_id):
    client.json("POST", "/api/organizations", body={"slug": "other-lab", "name": "another one"})
    with sdk_client.organization_context("other-lab"), pytest.raises(OrganizationError, match="'other-lab'"):
        annotate_task(sdk_client, task_id, FINDS_A_CAR)
    with sdk_client.organization_context(""):
        annotate_task(sdk_client, task_id, FINDS_A_CAR)
    assert len(client.task_annotations(task_id).shapes) == 3


def test_without_a_login_the_server_refuses(sandbox, task_id):
    with cvat_sdk.Client(sandbox.url) as anonymous, pytest.raises(AuthenticationError):
        annotate_task(anonymous, task_id, FINDS_A_CAR)


def test_a_later_login_counts(sandbox, task_id):
    with cvat_sdk.Client(sandbox.url) as client:
        own = own_client(client)
        client.login((sandbox.user, sandbox.password))
        assert own.user().username == sandbox.user


@pytest.mark.parametrize("verify", [True, False, None])
def test_takes_over_whether_certificates_are_verified(sandbox, verify):
    with cvat_sdk.Client(sandbox.url, config=Config(verify_ssl=verify)) as client:
        assert own_client(client)._transport._verify is (verify is not False)


def test_our_own_client_stays_the_same(client):
    assert own_client(client) is client


@pytest.mark.parametrize("strange", [None, "http://localhost", object()], ids=["none", "address", "object"])
def test_anything_else_is_a_type_error_that_says_what_to_give(strange, task_id):
    with pytest.raises(
        TypeError, match=r"client is of type .* give a prefect_cvat.Client or a cvat_sdk.Client"
    ):
        annotate_task(strange, task_id, FINDS_A_CAR)
