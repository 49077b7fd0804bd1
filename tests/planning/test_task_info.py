"""Reading a task for a plan."""

import pytest

from pool_tasks import create_pool_task
from prefect_cvat.models import Task
from prefect_cvat.planning.task_info import read_task


@pytest.fixture
def layout_of(sandbox, client):
    """The validation mode of a task, and the number of requests for it."""

    def ask(task):
        sandbox.requests.clear()
        return client.validation_layout(task).mode, sandbox.requests.total

    return ask


def test_validation_frames_are_asked_for_unless_the_task_states_that_it_has_none(
    client, make_task, layout_of
):
    plain = client.task(make_task(2))
    assert layout_of(plain) == (None, 0)
    assert layout_of(plain.id) == (None, 1)
    assert layout_of(Task.model_validate(plain.model_dump(exclude={"validation_mode"}))) == (None, 1)
    pool = client.task(create_pool_task(client))
    assert layout_of(pool) == ("gt_pool", 1)


def test_plan_takes_four_requests_and_one_more_for_validation_frames(sandbox, client, make_task):
    for task_id, count, honeypots in ((make_task(2), 4, 0), (create_pool_task(client), 5, 1)):
        sandbox.requests.clear()
        info = read_task(client, task_id)
        assert sandbox.requests.total == count
        assert bool(info.validation.honeypot_frames) == bool(honeypots)
