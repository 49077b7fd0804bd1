"""The deployments, by Prefect's own `deploy` and as they are served, on a real Prefect server."""

import os
import re
import subprocess
import sys

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import HEARTBEAT_SECONDS
from prefect_cvat.deployments.definitions import (
    ANNOTATE_PROJECT,
    ANNOTATE_TASK,
    PREFECT_YAML,
    Annotating,
    credentials_reference,
    make_deployments,
    name_blocks_by_id,
)
from prefect_cvat.deployments.nightly import Nightly, set_up_schedule
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.deployments.serve import serve_deployments
from prefect_cvat.deployments.setup import set_up
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
    "track task/track-task",
}

PROJECT = Scope(project_id=7)

SERVED = {
    "credentials": "main",
    "annotating": Annotating(),
    "scope": Scope(),
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
    """Make the deployments as `serve` does, without carrying out runs; gives what it says of schedules."""
    scope = scope or Scope()
    for deployment in make_deployments(credentials=credentials, scope=scope, **options):
        deployment.apply()
    return list(set_up_schedule(scope, nightly or Nightly(), credentials_reference(credentials)))


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
        annotating = {"function": "nanodet_detection"}
        assert deployment["parameters"] == {
            "credentials": {"$ref": {"block_document_slug": "cvat-credentials/main"}},
            "labels": {"allow_unmatched_labels": True},
            **(annotating if name.startswith("annotate") else {}),
        }
        assert deployment["tags"] == ["prefect-cvat"]
        assert deployment["description"]
    assert by_deploy[ANNOTATE_PROJECT]["schedules"] == []
    assert (in_pool.work_pool_name, in_pool.pull_steps) == ("cvat", [])
    assert (left_pool.work_pool_name, left_pool.job_variables) == (None, {})
    assert in_pool.job_variables["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)}


def uncommented(text):
    """What is in the file for a project and a run each night, as somebody would take it out of its comments."""
    before, _, after = text.partition("      # project_id: 7 #")
    text = f"{before}      project_id: 7 #{after}".replace("schedules: null", "schedules:")
    return re.sub(
        r"^    #(?=  +(- slug|cron|timezone|parameters|project_id|all_tasks|cred))", "    ", text, flags=re.M
    )


def test_the_nightly_run_is_the_same_from_an_edited_copy_and_from_options(work_pool, tmp_path):
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
    serve(scope=PROJECT, nightly=Nightly(cron="30 1 * * 1-5", timezone="Europe/Berlin"))

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


def test_a_quick_run_is_of_the_project_that_is_served_and_of_none_without_one():
    def quick_run():
        with get_client(sync_client=True) as prefect:
            return prefect.create_flow_run_from_deployment(read(ANNOTATE_PROJECT).id).parameters

    serve(scope=PROJECT)
    assert quick_run()["project_id"] == 7
    serve(scope=Scope(all_tasks=True))
    assert ("project_id" in quick_run(), quick_run()["all_tasks"]) == (False, True)
    serve()
    assert not {"project_id", "all_tasks"} & set(quick_run())


def test_to_say_a_project_and_all_tasks_is_refused():
    with pytest.raises(ValueError, match="--project 7 and --all-tasks contradict each other"):
        Scope(project_id=7, all_tasks=True)


def test_deploying_the_file_after_serving_leaves_the_nightly_run_as_it_is(work_pool):
    delete_deployments()
    serve(
        scope=PROJECT, nightly=Nightly(cron="30 1 * * 1-5", timezone="Europe/Berlin"), credentials="staging"
    )
    before = schedules()
    deploy(PREFECT_YAML, "--all")

    assert schedules() == before
    ((active, parameters, _),) = before
    assert (active, parameters["credentials"]) == (True, credentials_reference("staging"))
    # the merge that Prefect makes for a run of a schedule
    run = {**read(ANNOTATE_PROJECT).parameters, **parameters}
    assert (run["project_id"], run["credentials"]) == (7, credentials_reference("staging"))


def test_serving_without_a_project_leaves_the_nightly_run_as_it_is_and_says_so(work_pool, tmp_path):
    (tmp_path / "prefect.yaml").write_text(uncommented(PREFECT_YAML.read_text()))
    delete_deployments()
    deploy(tmp_path / "prefect.yaml", "-n", "annotate-project")
    before = schedules()

    assert serve() == ["schedule 'nightly' of project 7, 0 2 * * * UTC (left as it is)"]
    assert schedules() == before
    assert before[0][0]


def test_what_is_not_said_of_the_nightly_run_stays():
    delete_deployments()
    nightly = Nightly(cron="30 1 * * *", timezone="Europe/Berlin")
    assert serve(scope=PROJECT, nightly=nightly) == [
        "schedule 'nightly' of project 7, 30 1 * * * Europe/Berlin (created)"
    ]
    switch_off()
    same = "schedule 'nightly' of project 7, 30 1 * * * Europe/Berlin, switched off (unchanged)"
    assert serve(scope=PROJECT) == [same]
    assert serve(scope=Scope(project_id=8), nightly=Nightly(cron="0 4 * * *")) == [
        "schedule 'nightly' of project 8, 0 4 * * * Europe/Berlin (changed; it was: 'nightly' of project 7,"
        " 30 1 * * * Europe/Berlin, switched off)"
    ]
    assert serve(scope=Scope(all_tasks=True))[0].startswith("schedule 'nightly' of all tasks, 0 4 * * *")


def test_schedules_that_somebody_has_made_in_the_pages_stay(work_pool):
    delete_deployments()
    serve()
    with get_client(sync_client=True) as prefect:
        own = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 * * *"), parameters={"project_id": 3})
        prefect.create_deployment_schedules(read(ANNOTATE_PROJECT).id, [own])

    left = "schedule 'without a name' of project 3, 0 5 * * * UTC (left as it is)"
    assert serve() == [left]
    assert serve(scope=PROJECT) == ["schedule 'nightly' of project 7, 0 2 * * * UTC (created)", left]
    deploy(PREFECT_YAML, "--all")
    assert {parameters["project_id"] for _, parameters, _ in schedules()} == {3, 7}


def test_the_file_as_it_comes_annotates_an_ordinary_task(client, make_task, credentials):
    credentials.save("main", overwrite=True)
    task_id = make_task(2)  # with two labels; the function has 80
    serve()
    parameters = {**read(ANNOTATE_TASK).parameters, "credentials": CvatCredentials.load("main")}
    assert annotate_task(task_id, **parameters).frames == 2


def test_the_form_shows_the_block_once_it_is_named_by_its_id(work_pool):
    deploy(PREFECT_YAML, "--all")
    assert "block_document_slug" in read(ANNOTATE_TASK).parameters["credentials"]["$ref"]
    done = [line for line in set_up(None) if line.startswith("deployment")]
    assert len(done) == 4
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
        assert parameters["function"] == "torchvision_detection"
        assert parameters["labels"] == {"allow_unmatched_labels": True}
    assert "function" not in read("track task/track-task").parameters

    serve(annotating=Annotating(function="torchvision_detection"))
    assert read(ANNOTATE_TASK).parameters["labels"] == {"allow_unmatched_labels": False}

    serve(annotating=Annotating(function_block="cells"))
    parameters = read(ANNOTATE_TASK).parameters
    assert parameters["function_block"] == {"$ref": {"block_document_slug": "cvat-function/cells"}}


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
        ({"nightly": Nightly(cron="0 3 * * *")}, ValueError, "not for which project; pass --project ID too"),
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
