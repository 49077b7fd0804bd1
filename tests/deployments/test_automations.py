"""The automations, on a real Prefect server. That runs whose process died end as crashed: tests/e2e."""

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.exceptions import ObjectNotFound

from prefect_cvat.deployments.automations import CRASHED_RUNS, NEW_TASKS, set_up_automations
from prefect_cvat.deployments.definitions import ANNOTATE_TASK, make_deployments
from prefect_cvat.tasks.emit import emit_events
from prefect_cvat.tasks.events import READY, TaskState, task_event

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

URL = "https://cvat.example.com"


@pytest.fixture
def deployment(credentials):
    """The deployment that annotates one task, made anew; nobody carries out its runs."""
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
    """The parameters of the runs of a deployment, as soon as there are so many."""
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    deadline = time.monotonic() + 30
    while True:
        with get_client(sync_client=True) as prefect:
            runs = prefect.read_flow_runs(deployment_filter=wanted)
        if len(runs) >= count or time.monotonic() > deadline:
            return [run.parameters for run in runs]
        time.sleep(0.2)


def test_a_task_that_is_ready_starts_a_run_with_its_number_and_the_block(deployment):
    lines = list(set_up_automations("automated", URL, 7))
    assert lines == [
        f"automation {CRASHED_RUNS!r} (created)",
        f"automation {NEW_TASKS!r}: of project 7 at {URL} (created)",
    ]

    emit_ready(1, project_id=8)
    emit_ready(2, project_id=None)
    emit_ready(3, project_id=7, url="https://other.example.com")
    emit_ready(42, project_id=7)

    (parameters,) = runs_of(deployment, 1)
    assert parameters["task_id"] == 42
    assert parameters["credentials"] == {"$ref": {"block_document_slug": "cvat-credentials/automated"}}
    time.sleep(2)
    assert len(runs_of(deployment, 1)) == 1


def test_without_a_project_all_tasks_of_the_server_start_runs(deployment):
    list(set_up_automations("automated", URL))
    emit_ready(1, project_id=8)
    emit_ready(2, project_id=None)
    assert sorted(parameters["task_id"] for parameters in runs_of(deployment, 2)) == [1, 2]


def test_doing_it_again_changes_only_what_differs(deployment):
    list(set_up_automations("automated", URL, 7))
    assert all("(unchanged)" in line for line in set_up_automations("automated", URL, 7))

    *_, kept = set_up_automations("automated", URL)
    assert kept == f"automation {NEW_TASKS!r}: of project 7 at {URL} (unchanged)"
    *_, changed = set_up_automations("automated", URL, 9)
    assert changed == f"automation {NEW_TASKS!r}: of project 9 at {URL} (changed)"
    *_, moved = set_up_automations("automated", "https://other.example.com")
    assert moved == f"automation {NEW_TASKS!r}: of project 9 at https://other.example.com (changed)"
    assert automation(NEW_TASKS).trigger.match.get("cvat.project_id") == ["9"]


def test_one_that_was_switched_off_stays_off(deployment):
    list(set_up_automations("automated", URL, 7))
    with get_client(sync_client=True) as prefect:
        prefect.pause_automation(automation(NEW_TASKS).id)

    list(set_up_automations("automated", URL, 9))

    assert not automation(NEW_TASKS).enabled


def test_before_there_is_a_deployment_it_says_what_to_do_first(deployment):
    list(set_up_automations("automated", URL))
    delete_deployment()

    *_, last = set_up_automations("automated", URL)

    assert "no deployment 'annotate task/annotate-task' yet" in last
    assert "prefect-cvat serve" in last
    assert automation(CRASHED_RUNS).enabled


def test_a_deployment_that_was_made_anew_is_the_one_that_is_run(deployment):
    list(set_up_automations("automated", URL))
    (annotate_task,) = (each for each in make_deployments() if each.full_name == ANNOTATE_TASK)
    delete_deployment()
    again = annotate_task.apply()

    *_, line = set_up_automations("automated", URL)

    assert "(changed)" in line
    assert automation(NEW_TASKS).actions[0].deployment_id == again != deployment


def test_only_runs_of_these_deployments_are_taken_for_crashed():
    list(set_up_automations("automated", URL))
    trigger = automation(CRASHED_RUNS).trigger
    assert trigger.match_related.get("prefect.resource.id") == ["prefect.tag.prefect-cvat"]
    assert all(deployment.tags == ["prefect-cvat"] for deployment in make_deployments())
