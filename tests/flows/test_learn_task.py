"""The flow that learns from corrections, and a flow run that uses what was learned."""

import pytest
from prefect.client.orchestration import get_client

from corrected_tasks import People
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.learn_task import learn_task
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.learn_options import LearnOptions

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _places(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PREFECT_CVAT_LEARNED_DIR", str(tmp_path / "learned"))


def test_learns_for_later_flow_runs(credentials, client, make_task):
    task_id = make_task(3)
    annotate_task(task_id, credentials, function=FUNCTION)
    people = People(client, task_id)
    people.delete(people.shapes(1)[0])

    report = learn_task(task_id, credentials, LearnOptions(looked_at="0"))

    assert report.corrections == {"confirmed": 1, "deleted": 1}
    with get_client(sync_client=True) as prefect:
        run = prefect.read_flow_runs(limit=1, sort="START_TIME_DESC")[0]
        artifacts = prefect.read_artifacts()
    assert run.name == f"learn from task {task_id}"
    assert run.state.message == f"learned from 2 annotations on 2 corrected frames for task {task_id}"
    [shown] = [each for each in artifacts if each.key == f"learned-task-{task_id}"]
    assert "1 of 2 shapes right" in shown.data
    later = annotate_task(task_id, credentials, function=FUNCTION, labels=LabelOptions(learned=True))
    assert later.learned.startswith("learned from 2 shapes on 2 corrected frames")
