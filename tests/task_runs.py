"""The Prefect task runs of a flow run."""

import re

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId


def stages_of(run):
    """The names of the task runs of a flow run: `batch 0` without its frames, `plan task` without its id."""
    filters = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    with get_client(sync_client=True) as prefect:
        found = prefect.read_task_runs(flow_run_filter=filters, limit=200)
    return {re.sub(r" \(.*|-[0-9a-f]+$", "", task_run.name) for task_run in found}
