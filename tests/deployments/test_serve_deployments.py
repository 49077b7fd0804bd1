"""The deployments, by Prefect's own `deploy` and as they are served, on a real Prefect server."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import HEARTBEAT_SECONDS
from prefect_cvat.deployments.block_references import credentials_reference, name_blocks_by_id
from prefect_cvat.deployments.nightly_schedule import NightlySchedule, set_up_schedule
from prefect_cvat.deployments.prefect_yaml import (
    ANNOTATE_PROJECT,
    ANNOTATE_TASK,
    PREFECT_YAML,
    DefaultFunction,
    make_deployments,
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

PROJECT = Scope(project_id=7)

SERVED = {
    "credentials": "main",
    "default_function": DefaultFunction(),
    "scope": Scope(),
    "nightly": NightlySchedule(),
    "runs_at_a_time": 2,
    "echo": pytest.fail,
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
    credentials = CvatCredentials(url=sandbox.url, username=sandbox.user, password=sandbox.password)
    credentials.save("main", overwrite=True)  # a page of the documents may have left that of its own sandbox
    list(set_up(credentials))


def deploy(file=PREFECT_YAML, *which):
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", file, *which],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def serve(*, scope=None, nightly=None, credentials="main", **options):
    """Create the deployments as `serve` does, without executing runs; return its output about schedules."""
    scope = scope or Scope()
    for deployment in make_deployments(credentials=credentials, scope=scope, **options):
        deployment.apply()
    return list(set_up_schedule(scope, nightly or NightlySchedule(), credentials_reference(credentials)))


def deployed():
    """The deployments as the API returns them, without ids, dates and where runs execute."""
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


def schedules():
    """Of the deployment for a project: whether it is active, its parameters, and when."""
    return [
        (schedule.active, schedule.parameters, schedule.schedule)
        for schedule in read(ANNOTATE_PROJECT).schedules
    ]


def switch_off():
    deployment = read(ANNOTATE_PROJECT)
    with get_client(sync_client=True) as prefect:
        for schedule in deployment.schedules:
            prefect.update_deployment_schedule(
                deployment.id, schedule.id, active=False, parameters=schedule.parameters
            )


def test_prefect_deploy_and_serve_make_the_same_deployments(work_pool):
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


def uncommented(text):
    """The file with the lines for a project and a nightly run uncommented, as a user would do it."""
    before, _, after = text.partition("      # project_id: 7 #")
    text = f"{before}      project_id: 7 #{after}".replace("schedules: null", "schedules:")
    return re.sub(
        r"^    #(?=  +(- slug|cron|timezone|parameters|project_id|all_tasks|cred))", "    ", text, flags=re.M
    )


def test_nightly_run_is_the_same_from_prefect_yaml_and_from_options(work_pool, tmp_path):
    text = uncommented(PREFECT_YAML.read_text())
    for before, after in (
        ('"0 2 * * *"', '"30 1 * * 1-5"'),
        ("timezone: UTC", "timezone: Europe/Berlin"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    (tmp_path / "prefect.yaml").write_text(text)
    delete_deployments()

    deploy(tmp_path / "prefect.yaml", "-n", "annotate-project")
    by_deploy = deployed()[ANNOTATE_PROJECT]
    delete_deployments()
    serve(scope=PROJECT, nightly=NightlySchedule(cron="30 1 * * 1-5", timezone="Europe/Berlin"))

    assert deployed()[ANNOTATE_PROJECT] == by_deploy
    assert by_deploy["parameters"]["project_id"] == 7
    (nightly,) = by_deploy["schedules"]
    assert nightly["active"]
    assert nightly["parameters"] == {
        "project_id": 7,
        "all_tasks": False,
        "credentials": credentials_reference("main"),
    }
    assert nightly["schedule"]["timezone"] == "Europe/Berlin"


def test_quick_run_uses_the_served_project():
    def quick_run():
        with get_client(sync_client=True) as prefect:
            return prefect.create_flow_run_from_deployment(read(ANNOTATE_PROJECT).id).parameters

    serve(scope=PROJECT)
    assert quick_run()["project_id"] == 7
    serve(scope=Scope(all_tasks=True))
    assert ("project_id" in quick_run(), quick_run()["all_tasks"]) == (False, True)
    serve()
    assert not {"project_id", "all_tasks"} & set(quick_run())


def test_refuses_project_together_with_all_tasks():
    with pytest.raises(ValueError, match="--project 7 and --all-tasks contradict each other"):
        Scope(project_id=7, all_tasks=True)


def test_prefect_deploy_keeps_the_nightly_schedule(work_pool):
    delete_deployments()
    serve(
        scope=PROJECT,
        nightly=NightlySchedule(cron="30 1 * * 1-5", timezone="Europe/Berlin"),
        credentials="staging",
    )
    before = schedules()
    deploy(PREFECT_YAML, "--all")

    assert schedules() == before
    ((active, parameters, _),) = before
    assert (active, parameters["credentials"]) == (True, credentials_reference("staging"))
    # the merge that Prefect makes for a run of a schedule
    run = {**read(ANNOTATE_PROJECT).parameters, **parameters}
    assert (run["project_id"], run["credentials"]) == (7, credentials_reference("staging"))


def test_serve_without_project_keeps_the_nightly_schedule(work_pool, tmp_path):
    (tmp_path / "prefect.yaml").write_text(uncommented(PREFECT_YAML.read_text()))
    delete_deployments()
    deploy(tmp_path / "prefect.yaml", "-n", "annotate-project")
    before = schedules()

    assert serve() == ["schedule 'nightly' of project 7, 0 2 * * * UTC (not changed)"]
    assert schedules() == before
    assert before[0][0]


def test_options_not_given_keep_the_nightly_schedule():
    delete_deployments()
    nightly = NightlySchedule(cron="30 1 * * *", timezone="Europe/Berlin")
    assert serve(scope=PROJECT, nightly=nightly) == [
        "schedule 'nightly' of project 7, 30 1 * * * Europe/Berlin (created)"
    ]
    switch_off()
    same = "schedule 'nightly' of project 7, 30 1 * * * Europe/Berlin, switched off (unchanged)"
    assert serve(scope=PROJECT) == [same]
    assert serve(scope=Scope(project_id=8), nightly=NightlySchedule(cron="0 4 * * *")) == [
        "schedule 'nightly' of project 8, 0 4 * * * Europe/Berlin (changed; it was: 'nightly' of project 7,"
        " 30 1 * * * Europe/Berlin, switched off)"
    ]
    assert serve(scope=Scope(all_tasks=True))[0].startswith("schedule 'nightly' of all tasks, 0 4 * * *")


def test_keeps_schedules_created_in_the_ui(work_pool):
    delete_deployments()
    serve()
    with get_client(sync_client=True) as prefect:
        own = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 * * *"), parameters={"project_id": 3})
        prefect.create_deployment_schedules(read(ANNOTATE_PROJECT).id, [own])

    left = "schedule 'without a name' of project 3, 0 5 * * * UTC (not changed)"
    assert serve() == [left]
    assert serve(scope=PROJECT) == ["schedule 'nightly' of project 7, 0 2 * * * UTC (created)", left]
    deploy(PREFECT_YAML, "--all")
    assert {parameters["project_id"] for _, parameters, _ in schedules()} == {3, 7}


def test_unchanged_prefect_yaml_annotates_a_task(client, make_task, credentials):
    credentials.save("main", overwrite=True)
    task_id = make_task(2)  # with two labels; the function has 80
    serve()
    parameters = {**read(ANNOTATE_TASK).parameters, "credentials": CvatCredentials.load("main")}
    assert annotate_task(task_id, **parameters).frames == 2


def test_form_shows_block_referenced_by_id(work_pool):
    deploy(PREFECT_YAML, "--all")
    assert "block_document_slug" in read(ANNOTATE_TASK).parameters["credentials"]["$ref"]
    done = [line for line in set_up(None) if line.startswith("deployment")]
    assert len(done) == len(NAMES)
    assert read(ANNOTATE_TASK).parameters == {
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
        parameters = read(name).parameters
        assert parameters["function"] == "torchvision_detection"
        assert parameters["labels"] == {"allow_unmatched_labels": True}
    assert "function" not in read("track task/track-task").parameters

    serve(default_function=DefaultFunction(function="torchvision_detection"))
    assert read(ANNOTATE_TASK).parameters["labels"] == {"allow_unmatched_labels": False}

    serve(default_function=DefaultFunction(function_block="cells"))
    parameters = read(ANNOTATE_TASK).parameters
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
    ("options", "message"),
    [
        ({"cron": "at night"}, r"'at night' is not a cron expression.*'0 2 \* \* \*'"),
        ({"timezone": "Mars/Base"}, "no timezone 'Mars/Base'.*'Europe/Berlin'"),
    ],
)
def test_refuses_invalid_time_or_time_zone(options, message):
    with pytest.raises(ValueError, match=message):
        NightlySchedule(**options)


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
