"""The automations, on a real Prefect server. tests/e2e tests that runs of dead processes end as crashed."""

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.automations import CRASHED_RUNS, set_up_automations
from prefect_cvat.deployments.new_task_automations import NEW_TASKS, credentials_of, find_automations
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_TASK, make_deployments
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.events.cvat_events import READY, TaskState, task_event
from prefect_cvat.events.send_events import emit_events

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

URL = "https://cvat.example.com"
PROJECT = Scope(project_id=7)
EVERYTHING = Scope(all_tasks=True)
OF_PROJECT = "prefect-cvat: annotate new tasks of project 7 at cvat.example.com"


@pytest.fixture
def deployment(credentials):
    """A new deployment that annotates one task; no worker executes its runs."""
    credentials.save("automated", overwrite=True)
    (annotate_task,) = (each for each in make_deployments() if each.full_name == ANNOTATE_TASK)
    delete_deployment()
    return annotate_task.apply()


@pytest.fixture(autouse=True)
def no_automations(prefect_server):
    with get_client(sync_client=True) as prefect:
        for automation in prefect.read_automations():
            prefect.delete_automation(automation.id)


def delete_deployment():
    with get_client(sync_client=True) as prefect:
        try:
            prefect.delete_deployment(prefect.read_deployment_by_name(ANNOTATE_TASK).id)
        except ObjectNotFound:
            return


def automation(name):
    with get_client(sync_client=True) as prefect:
        (found,) = prefect.read_automations_by_name(name)
    return found


def emit_ready(task_id, project_id, url=URL):
    task = TaskState(id=task_id, project_id=project_id, name=f"task {task_id}")
    emit_events([task_event(READY, task, url, event_id=uuid4(), occurred=datetime.now(UTC))])


def runs_of(deployment_id, count):
    """Wait for a number of runs of a deployment, and return their parameters."""
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    deadline = time.monotonic() + 30
    while True:
        with get_client(sync_client=True) as prefect:
            runs = prefect.read_flow_runs(deployment_filter=wanted)
        if len(runs) >= count or time.monotonic() > deadline:
            return [run.parameters for run in runs]
        time.sleep(0.2)


def set_up(scope=None, *, block="automated", url=URL, organization=None):
    """What `setup` says of the automations for new tasks."""
    credentials = CvatCredentials(url=url, access_token="not-used", organization=organization)
    first, *lines = set_up_automations(block, credentials, scope)
    assert first.startswith(f"automation {CRASHED_RUNS!r} (")
    return lines


def new_tasks():
    """Of the automations for new tasks: by name, the block that runs log in with."""
    with get_client(sync_client=True) as prefect:
        found = list(find_automations(prefect))
    return {each.name: credentials_of(each)["$ref"]["block_document_slug"] for each in found}


def test_ready_task_starts_a_run_with_its_id_and_the_block(deployment):
    assert set_up(PROJECT) == [f"automation {OF_PROJECT!r} (created)"]

    emit_ready(1, project_id=8)
    emit_ready(2, project_id=None)
    emit_ready(3, project_id=7, url="https://other.example.com")
    emit_ready(42, project_id=7)

    (parameters,) = runs_of(deployment, 1)
    assert parameters["task_id"] == 42
    assert parameters["credentials"] == {"$ref": {"block_document_slug": "cvat-credentials/automated"}}
    time.sleep(2)
    assert len(runs_of(deployment, 1)) == 1


def test_all_tasks_of_server_start_runs(deployment):
    assert set_up(EVERYTHING) == [f"automation '{NEW_TASKS} of all projects at cvat.example.com' (created)"]
    emit_ready(1, project_id=8)
    emit_ready(2, project_id=None)
    assert sorted(parameters["task_id"] for parameters in runs_of(deployment, 2)) == [1, 2]


def test_all_tasks_of_organization_start_runs(deployment, sandbox, client, credentials):
    made = client.json("POST", "/api/organizations", body={"slug": "vets"})
    within = credentials.model_copy(update={"organization": "vets"})
    name = f"{NEW_TASKS} of organization vets at {sandbox.url.removeprefix('http://')}"
    _, line = set_up_automations("automated", within, EVERYTHING)
    assert line == f"automation {name!r} (created)"
    assert automation(name).trigger.match.get("cvat.organization") == [str(made["id"])]

    with pytest.raises(ValueError, match="no organization 'nobody'"):
        list(
            set_up_automations(
                "automated", credentials.model_copy(update={"organization": "nobody"}), EVERYTHING
            )
        )
    with pytest.raises(ValueError, match="personal workspace.*pass --project ID"):
        list(set_up_automations("automated", credentials.model_copy(update={"organization": ""}), EVERYTHING))


def test_creates_no_new_task_automation_without_project(deployment):
    assert set_up() == [
        "automation for new tasks: not created or changed without --project ID or --all-tasks"
    ]
    assert new_tasks() == {}


def test_each_server_and_project_has_its_own_automation(deployment):
    elsewhere = f"{NEW_TASKS} of project 7 at other.example.com:8443"
    another = f"{NEW_TASKS} of project 9 at cvat.example.com"
    set_up(PROJECT)
    left = f"automation {OF_PROJECT!r} (not changed)"

    assert set_up(Scope(project_id=9), block="second") == [f"automation {another!r} (created)", left]
    assert set_up(PROJECT, block="third", url="https://other.example.com:8443")[0] == (
        f"automation {elsewhere!r} (created)"
    )
    assert left in set_up(block="fourth", url="https://other.example.com:8443")
    assert left in set_up(block="fourth")

    assert new_tasks() == {
        OF_PROJECT: "cvat-credentials/automated",
        another: "cvat-credentials/second",
        elsewhere: "cvat-credentials/third",
    }
    emit_ready(42, project_id=7)
    emit_ready(43, project_id=9)
    emit_ready(44, project_id=7, url="https://other.example.com:8443")
    started = {run["task_id"]: run["credentials"]["$ref"] for run in runs_of(deployment, 3)}
    assert {task: block["block_document_slug"] for task, block in started.items()} == {
        42: "cvat-credentials/automated",
        43: "cvat-credentials/second",
        44: "cvat-credentials/third",
    }


def test_second_setup_changes_only_differences(deployment):
    set_up(PROJECT)
    assert set_up(PROJECT) == [f"automation {OF_PROJECT!r} (unchanged)"]
    assert set_up(PROJECT, block="second") == [
        f"automation {OF_PROJECT!r} (changed; its runs used the credentials cvat-credentials/automated)"
    ]
    # a project is of one organization, whichever a log-in names
    assert set_up(PROJECT, block="second", organization="vets") == [f"automation {OF_PROJECT!r} (unchanged)"]


def test_renames_automation_of_earlier_version_for_its_project_only(deployment):
    set_up(PROJECT)
    with get_client(sync_client=True) as prefect:
        before = automation(OF_PROJECT)
        whole = before.model_dump(exclude={"owner_resource", "id", "created", "updated"})
        prefect.update_automation(before.id, AutomationCore.model_validate({**whole, "name": NEW_TASKS}))
        prefect.pause_automation(before.id)

    old = (
        f"automation {NEW_TASKS!r} (not changed): an earlier version has created it, for project 7 of the server"
        " cvat-example-com; run setup with --project 7 and its credentials to rename it, or delete it in"
        " Prefect's UI"
    )
    assert old in set_up(Scope(project_id=9))
    assert old in set_up()
    assert old in set_up(PROJECT, url="https://other.example.com")
    assert set_up(PROJECT)[0] == f"automation {OF_PROJECT!r} (changed; its name was {NEW_TASKS!r})"
    assert NEW_TASKS not in new_tasks()
    assert (automation(OF_PROJECT).id, automation(OF_PROJECT).enabled) == (before.id, False)


def test_warns_of_overlapping_automations(deployment):
    everything = f"{NEW_TASKS} of all projects at cvat.example.com"
    set_up(EVERYTHING)
    assert set_up(PROJECT)[1] == (
        f"automation {everything!r} (not changed): it also starts runs on new tasks of project 7"
        " at cvat.example.com; disable one of the two"
    )
    with get_client(sync_client=True) as prefect:
        prefect.pause_automation(automation(everything).id)
    assert set_up(PROJECT)[1] == f"automation {everything!r} (not changed)"


def test_disabled_automation_is_kept_disabled(deployment):
    set_up(PROJECT)
    with get_client(sync_client=True) as prefect:
        prefect.pause_automation(automation(OF_PROJECT).id)

    set_up(PROJECT, block="second")

    assert not automation(OF_PROJECT).enabled


def test_missing_deployment_names_the_commands(deployment):
    set_up(PROJECT)
    delete_deployment()

    first, *_ = set_up(PROJECT)

    assert "no deployment 'annotate task/annotate-task' yet" in first
    assert "prefect-cvat serve" in first
    assert automation(CRASHED_RUNS).enabled


def test_starts_recreated_deployment(deployment):
    set_up(PROJECT)
    set_up(Scope(project_id=9))
    (annotate_task,) = (each for each in make_deployments() if each.full_name == ANNOTATE_TASK)
    delete_deployment()
    again = annotate_task.apply()

    changed, other = set_up(PROJECT)

    assert "(changed)" in changed
    assert automation(OF_PROJECT).actions[0].deployment_id == again != deployment
    assert "its deployment was deleted; run setup with --project 9" in other


def test_marks_only_runs_of_these_deployments_as_crashed():
    set_up()
    trigger = automation(CRASHED_RUNS).trigger
    assert trigger.match_related.get("prefect.resource.id") == ["prefect.tag.prefect-cvat"]
    assert all(deployment.tags == ["prefect-cvat"] for deployment in make_deployments())
