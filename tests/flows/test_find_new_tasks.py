"""The sensor of new tasks, on a real Prefect server, against the sandbox over HTTP."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from prefect.variables import Variable
from pydantic import SecretStr

from pictures import picture
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.events.cvat_events import TaskState
from prefect_cvat.flows import find_new_tasks as module
from prefect_cvat.flows.find_new_tasks import _find_new, _Seen, find_new_tasks
from prefect_cvat.http.server_url import server_slug
from prefect_cvat.sandbox import Sandbox
from prefect_events import events_of

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
ALWAYS = {"since": NOW - timedelta(hours=24), "forget_before": NOW - timedelta(days=30)}


@pytest.fixture
def credentials(sandbox) -> CvatCredentials:
    return CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password))


@pytest.fixture
def project_id(client) -> int:
    return client.json("POST", "/api/projects", body={"name": "a project", "labels": [{"name": "car"}]})["id"]


@pytest.fixture
def new_task(client, project_id):
    def make(*, data=True, project=None):
        task_id = client.create_task("a task", [], project_id=project or project_id).id
        if data:
            add_data(task_id)
        return task_id

    def add_data(task_id):
        client.upload_images(task_id, {"a.png": picture()})

    make.add_data = add_data
    return make


def ready_events(sandbox, task_id, count=1):
    return events_of(f"cvat.task.{server_slug(sandbox.url)}.{task_id}", count)


def test_emits_one_event_for_each_task_with_data(credentials, project_id, new_task, sandbox):
    task_id = new_task()
    assert find_new_tasks(credentials, project_id) == [task_id]
    assert find_new_tasks(credentials, project_id) == []
    [event] = ready_events(sandbox, task_id)
    assert event.event == "cvat.task.ready"
    assert event.resource.name == "a task"
    assert event.payload == {
        "task_id": task_id,
        "task_name": "a task",
        "project_id": project_id,
        "status": "annotation",
        "server": sandbox.url,
    }
    assert event.resource_in_role["project"].name == "a project"


def test_finds_task_whose_data_come_after_newer_tasks(credentials, project_id, new_task):
    late = new_task(data=False)
    early = new_task()
    assert find_new_tasks(credentials, project_id) == [early]
    assert find_new_tasks(credentials, project_id) == []
    new_task.add_data(late)
    assert find_new_tasks(credentials, project_id) == [late]
    assert find_new_tasks(credentials, project_id) == []


def test_forgets_deleted_task_without_data(credentials, client, project_id, new_task):
    waiting = new_task(data=False)
    find_new_tasks(credentials, project_id)
    client.json("DELETE", f"/api/tasks/{waiting}")
    assert find_new_tasks(credentials, project_id) == []
    assert Variable.get(name_of_variable(credentials, project_id))["waiting"] == []


def test_ignores_tasks_of_other_projects(credentials, client, project_id, new_task):
    other = client.json("POST", "/api/projects", body={"name": "another", "labels": []})["id"]
    theirs, ours = new_task(project=other), new_task()
    assert find_new_tasks(credentials, project_id) == [ours]
    assert find_new_tasks(credentials, other) == [theirs]


def test_finds_tasks_of_all_projects_with_all_tasks(prefect_server):
    with Sandbox() as sandbox:
        credentials = CvatCredentials(
            url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)
        )
        assert find_new_tasks(credentials, all_tasks=True) == []
        with credentials.get_client() as client:
            task_id = client.create_task("a task", []).id
            client.upload_images(task_id, {"a.png": picture()})
        assert find_new_tasks(credentials, all_tasks=True) == [task_id]


def test_each_user_has_a_variable_for_all_tasks(prefect_server):
    with Sandbox() as sandbox:
        admin = CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password))
        # as Prefect's names see them, the two are one
        users = [
            CvatCredentials(url=sandbox.url, username=name, password=SecretStr("a-Long-one-7"))
            for name in ("a.user", "A_user")
        ]
        tasks = []
        for user in users:
            words = {
                "password1": "a-Long-one-7",
                "password2": "a-Long-one-7",
                "first_name": "",
                "last_name": "",
            }
            body = {"username": user.username, "email": f"{user.username}@example.com", **words}
            httpx.post(f"{sandbox.url}/api/auth/register", json=body).raise_for_status()
            with user.get_client() as client:
                tasks.append(client.create_task("a task", []).id)
                client.upload_images(tasks[-1], {"a.png": picture()})
        assert find_new_tasks(users[1], all_tasks=True) == [tasks[1]]
        assert find_new_tasks(users[0], all_tasks=True) == [tasks[0]]
        assert find_new_tasks(admin, all_tasks=True) == tasks


def test_fails_without_project_and_all_tasks(credentials, project_id, new_task):
    new_task()
    with pytest.raises(ValueError, match="no project is given; set project_id.* or all_tasks=True"):
        find_new_tasks(credentials)
    with pytest.raises(ValueError, match="contradict each other"):
        find_new_tasks(credentials, project_id, all_tasks=True)


def test_first_run_looks_back_since_hours(credentials, project_id, new_task):
    new_task()
    assert find_new_tasks(credentials, project_id, since_hours=0) == []
    after = new_task()
    assert find_new_tasks(credentials, project_id, since_hours=0) == [after]


def test_reads_all_pages_of_tasks(credentials, project_id, new_task, monkeypatch):
    monkeypatch.setattr(module, "PAGE_SIZE", 3)
    waiting = [new_task(data=False) for _ in range(5)]
    tasks = [new_task() for _ in range(7)]
    assert find_new_tasks(credentials, project_id) == tasks
    for task_id in waiting:
        new_task.add_data(task_id)
    assert find_new_tasks(credentials, project_id) == waiting
    assert find_new_tasks(credentials, project_id) == []


def test_run_that_dies_before_saving_emits_the_same_event_id_again(
    credentials, project_id, new_task, sandbox, monkeypatch
):
    task_id = new_task()

    def die(*_, **__):
        raise RuntimeError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Variable, "set", die)
        with pytest.raises(RuntimeError, match="killed here"):
            find_new_tasks(credentials, project_id)
    assert find_new_tasks(credentials, project_id) == [task_id]
    time.sleep(2)
    assert len(ready_events(sandbox, task_id, 1)) == 1


def test_receiver_and_flow_emit_the_same_event_id(credentials, project_id, new_task, sandbox):
    task_id = new_task()
    assert find_new_tasks(credentials, project_id) == [task_id]
    Variable.unset(name_of_variable(credentials, project_id))
    assert find_new_tasks(credentials, project_id) == [task_id]
    other = new_task()
    assert find_new_tasks(credentials, project_id) == [other]
    ready_events(sandbox, other)
    assert len(ready_events(sandbox, task_id)) == 1


def test_unreadable_variable_is_an_error(credentials, project_id, new_task):
    name = name_of_variable(credentials, project_id)
    Variable.set(name, {"highest": "many"})
    with pytest.raises(
        ValueError, match=f"Prefect Variable {name} has a value that this flow has not written"
    ):
        find_new_tasks(credentials, project_id)


def test_form_describes_every_parameter():
    parameters = find_new_tasks.parameters.properties
    assert set(parameters) == {"credentials", "project_id", "all_tasks", "since_hours"}
    assert all(parameter.get("description") for parameter in parameters.values())
    assert not any("\n" in parameter["description"] for parameter in parameters.values())


def name_of_variable(credentials, project_id):
    return f"cvat_new_tasks_{server_slug(credentials.url)}_project_{project_id}"


# --- looking, without a server ---


def task(number, *, size=None, hours_ago=1.0, jobs=1):
    return TaskState(
        id=number,
        name=str(uuid4()),
        size=size,
        jobs={"count": jobs},
        created_date=(NOW - timedelta(hours=hours_ago)).isoformat(),
    )


def test_first_run_saves_newest_id_and_finds_only_recent_tasks():
    newest = [task(9, size=1, hours_ago=30), task(8, size=1, hours_ago=40)]
    found = _find_new(None, newest, [], **ALWAYS)
    assert found.ready == []
    assert found.after == _Seen(highest=9, waiting=[])


def test_reads_only_new_tasks_of_the_list():
    def newest():
        yield task(9, size=1)
        yield task(8, size=1)
        yield task(7, size=1)
        raise AssertionError("the next page is not needed")

    found = _find_new(_Seen(highest=7, waiting=[]), newest(), [], **ALWAYS)
    assert [found.id for found in found.ready] == [8, 9]


def test_waits_for_task_without_jobs():
    found = _find_new(_Seen(highest=1, waiting=[]), [task(2, size=5, jobs=0)], [], **ALWAYS)
    assert found.ready == []
    assert found.after.waiting == [2]


def test_forgets_tasks_without_data_after_30_days():
    found = _find_new(_Seen(highest=9, waiting=[3, 4]), [], [task(4), task(3, hours_ago=24 * 31)], **ALWAYS)
    assert found.after == _Seen(highest=9, waiting=[4])
    assert found.given_up == [3]


def test_state_fits_into_a_variable():
    newest = [task(number) for number in range(99_999_999, 99_999_000, -1)]
    found = _find_new(_Seen(highest=1, waiting=[]), newest, [], **ALWAYS)
    assert len(found.after.waiting) == 400
    assert max(found.after.waiting) == 99_999_999
    Variable.set(f"test-{uuid4()}", found.after.model_dump())
    assert len(found.given_up) == len(newest) - 400
