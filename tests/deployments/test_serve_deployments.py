"""The deployments, by Prefect's own `deploy` and as they are served, on a real Prefect server."""

from importlib.metadata import version

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments_on_server import delete_deployments, deploy, deployed, read_deployment, serve
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import HEARTBEAT_SECONDS
from prefect_cvat.deployments.block_references import credentials_reference, name_blocks_by_id
from prefect_cvat.deployments.nightly_schedule import NightlySchedule
from prefect_cvat.deployments.prefect_yaml import (
    ANNOTATE_PROJECT,
    ANNOTATE_TASK,
    PREFECT_YAML,
    DefaultFunction,
)
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.deployments.serve_deployments import LOG_INTERVAL, OUTAGE_SETTINGS, serve_deployments
from prefect_cvat.deployments.set_up_server import set_up
from prefect_cvat.exceptions import FunctionLoadError, TransportError
from prefect_cvat.flows.annotate_task import annotate_task

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

NAMES = {
    ANNOTATE_TASK,
    "annotate project/annotate-project",
    "evaluate task/evaluate-task",
    "export task/export-task",
    "find new tasks/find-new-tasks",
    "learn task/learn-task",
    "refine task/refine-task",
    "undo run/undo-run",
    "track task/track-task",
}

WITH_LABELS = {"annotate task", "annotate project", "evaluate task", "export task", "track task"}

SERVED = {
    "credentials": "main",
    "default_function": DefaultFunction(),
    "scope": Scope(),
    "nightly": NightlySchedule(),
    "runs_at_a_time": 2,
    "echo": pytest.fail,
}


def test_prefect_deploy_and_serve_make_the_same_deployments(work_pool):
    delete_deployments()
    deploy(PREFECT_YAML, "--all")
    by_deploy = deployed()
    in_pool = read_deployment(ANNOTATE_TASK)
    serve()
    left_pool = read_deployment(ANNOTATE_TASK)
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
        "export task/export-task": (4, "ENQUEUE"),
        "find new tasks/find-new-tasks": (1, "CANCEL_NEW"),
        "refine task/refine-task": (4, "ENQUEUE"),
        "track task/track-task": (4, "ENQUEUE"),
        "learn task/learn-task": (4, "ENQUEUE"),
        "undo run/undo-run": (4, "ENQUEUE"),
    }
    for name, deployment in by_deploy.items():
        drop_labels = {"labels": {"allow_unmatched_labels": True}}
        default_function = {"function": "nanodet_detection"}
        assert deployment["parameters"] == {
            "credentials": {"$ref": {"block_document_slug": "cvat-credentials/main"}},
            **(drop_labels if name.split("/")[0] in WITH_LABELS else {}),
            **(default_function if name.startswith("annotate") else {}),
        }
        assert deployment["tags"] == ["prefect-cvat"]
        assert deployment["description"]
        assert deployment["version"] == version("prefect-cvat")
    assert by_deploy[ANNOTATE_PROJECT]["schedules"] == []
    assert (in_pool.work_pool_name, in_pool.pull_steps) == ("cvat", [])
    assert (left_pool.work_pool_name, left_pool.job_variables) == (None, {})
    outage = {setting.name: value for setting, value in OUTAGE_SETTINGS.items()}
    heartbeat = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)}
    assert in_pool.job_variables["env"] == heartbeat | outage | dict([LOG_INTERVAL])


def test_unchanged_prefect_yaml_annotates_a_task(client, make_task, credentials):
    credentials.save("main", overwrite=True)
    task_id = make_task(2)  # with two labels; the function has 80
    serve()
    parameters = {**read_deployment(ANNOTATE_TASK).parameters, "credentials": CvatCredentials.load("main")}
    assert annotate_task(task_id, **parameters).frames == 2


def test_form_shows_block_referenced_by_id(work_pool):
    deploy(PREFECT_YAML, "--all")
    assert "block_document_slug" in read_deployment(ANNOTATE_TASK).parameters["credentials"]["$ref"]
    done = [line for line in set_up(None) if line.startswith("deployment")]
    assert len(done) == len(NAMES)
    assert read_deployment(ANNOTATE_TASK).parameters == {
        "credentials": {"$ref": {"block_document_id": str(CvatCredentials.load("main")._block_document_id)}},
        "function": "nanodet_detection",
        "labels": {"allow_unmatched_labels": True},
    }
    assert not [line for line in set_up(None) if line.startswith("deployment")]
    assert name_blocks_by_id({"credentials": credentials_reference("nowhere"), "task_id": 1}) == {
        "credentials": credentials_reference("nowhere"),
        "task_id": 1,
    }


def test_credentials_block_can_be_chosen():
    serve(credentials="staging")
    for deployment in deployed().values():
        assert deployment["parameters"]["credentials"] == {
            "$ref": {"block_document_slug": "cvat-credentials/staging"}
        }


def test_function_or_function_block_can_be_chosen():
    serve(default_function=DefaultFunction(function="torchvision_detection", allow_unmatched_labels=True))
    for name in (ANNOTATE_TASK, "annotate project/annotate-project"):
        parameters = read_deployment(name).parameters
        assert parameters["function"] == "torchvision_detection"
        assert parameters["labels"] == {"allow_unmatched_labels": True}
    assert "function" not in read_deployment("track task/track-task").parameters

    serve(default_function=DefaultFunction(function="torchvision_detection"))
    assert read_deployment(ANNOTATE_TASK).parameters["labels"] == {"allow_unmatched_labels": False}

    serve(default_function=DefaultFunction(function_block="cells"))
    parameters = read_deployment(ANNOTATE_TASK).parameters
    assert parameters["function_block"] == {"$ref": {"block_document_slug": "cvat-function/cells"}}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"function": "no_such_function"}, FunctionLoadError, "no_such_function"),
        ({"function": "a.module"}, FunctionLoadError, "PREFECT_CVAT_FUNCTION_MODULES"),
        (
            {"function": "nanodet_detection", "function_block": "cells"},
            ValueError,
            "pass either the block or",
        ),
        ({"allow_unmatched_labels": True, "function_block": "cells"}, ValueError, "pass either the block or"),
    ],
)
def test_refuses_unknown_or_contradicting_functions(options, error, message):
    with pytest.raises(error, match=message):
        DefaultFunction(**options)


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
            {"default_function": DefaultFunction(function_block="nothing")},
            ValueError,
            "no usable block cvat-function/nothing",
        ),
        (
            {"nightly": NightlySchedule(cron="0 3 * * *")},
            ValueError,
            "need a project; pass --project ID too",
        ),
    ],
)
def test_serve_checks_options_before_it_creates_deployments(work_pool, options, error, message):
    delete_deployments()
    with pytest.raises(error, match=message):
        serve_deployments(**{**SERVED, **options})
    assert deployed() == {}


def test_serve_names_missing_prefect_server():
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(TransportError, match=r"127\.0\.0\.1:9/api does not answer .*prefect server start"),
    ):
        serve_deployments(**SERVED)
