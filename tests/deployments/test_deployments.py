"""The deployments, by Prefect's own `deploy` and as they are served, on a real Prefect server."""

import os
import subprocess
import sys

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import HEARTBEAT_SECONDS
from prefect_cvat.deployments.definitions import (
    ANNOTATE_TASK,
    PREFECT_YAML,
    Annotating,
    Nightly,
    credentials_reference,
    make_deployments,
    name_blocks_by_id,
)
from prefect_cvat.deployments.serve import serve_deployments
from prefect_cvat.deployments.setup import set_up
from prefect_cvat.exceptions import FunctionLoadError, TransportError

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

NAMES = {
    ANNOTATE_TASK,
    "annotate project/annotate-project",
    "evaluate task/evaluate-task",
    "track task/track-task",
}

SERVED = {
    "credentials": "main",
    "annotating": Annotating(),
    "nightly": Nightly(),
    "runs_at_a_time": 2,
    "say": pytest.fail,
}

FIELDS = {
    "concurrency_options",
    "description",
    "enforce_parameter_schema",
    "entrypoint",
    "parameter_openapi_schema",
    "parameters",
    "path",
    "paused",
    "tags",
    "version",
}


@pytest.fixture(scope="session")
def work_pool(prefect_server, sandbox):
    """What `prefect-cvat setup` makes before anything is deployed."""
    list(set_up(CvatCredentials(url=sandbox.url, username=sandbox.user, password=sandbox.password)))


def deploy(file=PREFECT_YAML, *which):
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", file, *which],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def serve(**options):
    """Make the deployments as `serve` does, without carrying out runs."""
    for deployment in make_deployments(**options):
        deployment.apply()


def deployed():
    """What the API says of the deployments, but for ids, dates and where runs are carried out."""
    with get_client(sync_client=True) as prefect:
        flows = {flow.id: flow.name for flow in prefect.read_flows()}
        found = {}
        for deployment in prefect.read_deployments():
            said = deployment.model_dump(mode="json", include=FIELDS)
            said["limit"] = deployment.global_concurrency_limit.limit
            said["schedules"] = [
                schedule.model_dump(mode="json", include={"schedule", "active", "parameters", "slug"})
                for schedule in deployment.schedules
            ]
            found[f"{flows[deployment.flow_id]}/{deployment.name}"] = said
    return found


def delete_deployments():
    with get_client(sync_client=True) as prefect:
        for deployment in prefect.read_deployments():
            prefect.delete_deployment(deployment.id)


def read(name):
    with get_client(sync_client=True) as prefect:
        return prefect.read_deployment_by_name(name)


def test_prefect_deploy_and_serve_make_the_same_four_deployments(work_pool):
    delete_deployments()
    deploy(PREFECT_YAML, "--all")
    by_deploy = deployed()
    in_pool = read(ANNOTATE_TASK)
    serve()
    left_pool = read(ANNOTATE_TASK)
    assert deployed() == by_deploy
    delete_deployments()
    serve()
    assert deployed() == by_deploy

    assert set(by_deploy) == NAMES
    assert {
        name: (d["limit"], d["concurrency_options"]["collision_strategy"]) for name, d in by_deploy.items()
    } == {
        ANNOTATE_TASK: (16, "ENQUEUE"),
        "annotate project/annotate-project": (1, "CANCEL_NEW"),
        "evaluate task/evaluate-task": (4, "ENQUEUE"),
        "track task/track-task": (4, "ENQUEUE"),
    }
    for name, deployment in by_deploy.items():
        annotating = {"function": "nanodet_detection", "allow_unmatched_labels": False}
        assert deployment["parameters"] == {
            "credentials": {"$ref": {"block_document_slug": "cvat-credentials/main"}},
            **(annotating if name.startswith("annotate") else {}),
        }
        assert deployment["tags"] == ["prefect-cvat"]
        assert deployment["description"]
    assert by_deploy["annotate project/annotate-project"]["schedules"] == [
        {
            "slug": "nightly",
            "schedule": {"cron": "0 2 * * *", "timezone": "UTC", "day_or": True},
            "active": False,
            "parameters": {"project_id": None},
        }
    ]
    assert (in_pool.work_pool_name, in_pool.pull_steps) == ("cvat", [])
    assert (left_pool.work_pool_name, left_pool.job_variables) == (None, {})
    assert in_pool.job_variables["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)}


def test_the_nightly_run_is_the_same_from_an_edited_copy_and_from_options(work_pool, tmp_path):
    text = PREFECT_YAML.read_text()
    for before, after in (
        ('"0 2 * * *"', '"30 1 * * 1-5"'),
        ("timezone: UTC", "timezone: Europe/Berlin"),
        ("active: false", "active: true"),
        ("project_id: null", "project_id: 7"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    (tmp_path / "prefect.yaml").write_text(text)
    name = "annotate project/annotate-project"
    delete_deployments()

    deploy(tmp_path / "prefect.yaml", "-n", "annotate-project")
    by_deploy = deployed()[name]
    delete_deployments()
    serve(nightly=Nightly(cron="30 1 * * 1-5", timezone="Europe/Berlin", project_id=7))

    assert deployed()[name] == by_deploy
    (nightly,) = by_deploy["schedules"]
    assert nightly["active"]
    assert nightly["parameters"] == {"project_id": 7}
    assert nightly["schedule"]["timezone"] == "Europe/Berlin"


def test_serving_again_without_a_project_switches_the_nightly_run_off():
    serve(nightly=Nightly(cron="15 3 * * *", project_id=7))
    serve()

    (nightly,) = read("annotate project/annotate-project").schedules
    assert (nightly.active, nightly.parameters, nightly.schedule.cron) == (
        False,
        {"project_id": None},
        "0 2 * * *",
    )


def test_the_form_shows_the_block_once_it_is_named_by_its_id(work_pool):
    deploy(PREFECT_YAML, "--all")
    assert "block_document_slug" in read(ANNOTATE_TASK).parameters["credentials"]["$ref"]
    done = [line for line in set_up(None) if line.startswith("deployment")]
    assert len(done) == 4
    assert read(ANNOTATE_TASK).parameters == {
        "credentials": {"$ref": {"block_document_id": str(CvatCredentials.load("main")._block_document_id)}},
        "function": "nanodet_detection",
        "allow_unmatched_labels": False,
    }
    assert not [line for line in set_up(None) if line.startswith("deployment")]
    assert name_blocks_by_id({"credentials": credentials_reference("nowhere"), "task_id": 1}) == {
        "credentials": credentials_reference("nowhere"),
        "task_id": 1,
    }


def test_another_block_may_hold_the_credentials():
    serve(credentials="staging")
    for deployment in deployed().values():
        assert deployment["parameters"]["credentials"] == {
            "$ref": {"block_document_slug": "cvat-credentials/staging"}
        }


def test_what_annotates_may_be_chosen_or_be_in_a_block():
    serve(annotating=Annotating(function="torchvision_detection", allow_unmatched_labels=True))
    for name in (ANNOTATE_TASK, "annotate project/annotate-project"):
        parameters = read(name).parameters
        assert (parameters["function"], parameters["allow_unmatched_labels"]) == (
            "torchvision_detection",
            True,
        )
    assert "function" not in read("track task/track-task").parameters

    serve(annotating=Annotating(function_block="cells"))
    parameters = read(ANNOTATE_TASK).parameters
    assert parameters["function_block"] == {"$ref": {"block_document_slug": "cvat-function/cells"}}
    assert not parameters["allow_unmatched_labels"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"function": "no_such_function"}, FunctionLoadError, "no_such_function"),
        ({"function": "a.module"}, FunctionLoadError, "PREFECT_CVAT_FUNCTION_MODULES"),
        ({"function": "nanodet_detection", "function_block": "cells"}, ValueError, "leave the block out"),
        ({"allow_unmatched_labels": True, "function_block": "cells"}, ValueError, "leave the block out"),
    ],
)
def test_a_function_that_there_is_not_or_that_is_said_twice_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        Annotating(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cron": "at night"}, r"'at night' is not a cron expression.*'0 2 \* \* \*'"),
        ({"timezone": "Mars/Base"}, "no timezone 'Mars/Base'.*'Europe/Berlin'"),
    ],
)
def test_a_time_that_there_is_not_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Nightly(**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"credentials": "nobody"},
            ValueError,
            "no usable block cvat-credentials/nobody.*prefect-cvat setup",
        ),
        ({"runs_at_a_time": 1}, ValueError, "let 2 or more run"),
        (
            {"annotating": Annotating(function_block="nothing")},
            ValueError,
            "no usable block cvat-function/nothing",
        ),
    ],
)
def test_serve_refuses_what_cannot_work_before_it_makes_anything(work_pool, options, error, message):
    delete_deployments()
    with pytest.raises(error, match=message):
        serve_deployments(**{**SERVED, **options})
    assert deployed() == {}


def test_serve_names_a_prefect_server_that_is_not_there():
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(TransportError, match=r"127\.0\.0\.1:9/api does not answer .*prefect server start"),
    ):
        serve_deployments(**SERVED)
