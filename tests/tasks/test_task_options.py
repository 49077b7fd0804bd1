"""What a function raises in a flow: short states, a short log, and nothing is tried again."""

import textwrap

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId

from polling import until
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS, shorten_errors

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

HEAD = """
import numpy as np
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, mask, polygon
spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
def detect(context, image):
"""


def told_by_prefect(flow_run_id):
    """The states of the flow run and its task runs as text, their attempts, and the log."""
    with get_client(sync_client=True) as prefect:
        runs = prefect.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
        )
        states = [prefect.read_flow_run(flow_run_id).state, *(run.state for run in runs)]
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
        log = until(lambda: prefect.read_logs(of_run), every=0.5)  # Prefect sends it every two seconds
    return [state.message or "" for state in states], [run.run_count for run in runs], log


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [mask(0, np.ones((3000, 4000), bool))]", "encode_mask(array)"),
        ("raise ValueError('\\x1b[31m' + 'x' * 10_000_000)", r"ValueError: \x1b[31mxxx"),
        ("return [polygon(0, ['a'] * 100_000)]", "1 validation error for LabeledShapeRequest"),
    ],
    ids=["a mask as pixels", "a message of 10 MB", "an error of pydantic"],
)
def test_states_and_logs_are_short_without_retries(
    credentials, make_task, tmp_path, monkeypatch, caplog, body, message
):
    name = f"strange_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(HEAD + textwrap.indent(body, "    ") + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", name)
    state = annotate_task(make_task(4), credentials, function=name, return_state=True)
    assert message in state.message
    assert f"{name}.py, line 6, in detect" in state.message
    messages, tries, log = told_by_prefect(state.state_details.flow_run_id)
    assert all(len(each) < 1200 and each.replace("\n", "").isprintable() for each in messages)
    assert set(tries) <= {0, 1}
    assert log
    for line in log:  # with the traceback, of lines of code
        assert len(line.message) < 20_000
        assert "\x1b" not in line.message
        assert "xxxxx" * 300 not in line.message


def test_shortens_errors_of_libraries(prefect_server):
    tries = []

    @task(**{**RETRY_NETWORK_ERRORS, "retry_delay_seconds": 0})
    @shorten_errors
    def fails():
        tries.append(1)
        raise ValueError("\x1b" + "x" * 10**6)

    @flow
    def failing():
        fails()

    state = failing(return_state=True)
    assert len(state.message) < 1200
    assert r"ValueError: \x1bxxx" in state.message
    assert len(tries) == 1


def test_shortens_only_the_cause_of_own_errors():
    @shorten_errors
    def fails():
        raise BadFunctionError("it fails") from ValueError("x" * 10**6)

    with pytest.raises(BadFunctionError, match="^it fails$") as error:
        fails()
    assert len(str(error.value.__cause__)) <= 1000
