"""The last flow run, its Prefect task runs and its artifacts, read back from the Prefect server."""

import re

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.sorting import FlowRunSort


def stages_of(run):
    """The names of the task runs of a flow run: `batch 0` without its frames, `plan task` without its id."""
    filters = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    with get_client(sync_client=True) as prefect:
        found = prefect.read_task_runs(flow_run_filter=filters, limit=200)
    return {re.sub(r" \(.*|-[0-9a-f]+$", "", task_run.name) for task_run in found}


def last_run():
    """The flow run that was started last."""
    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
    return run


def artifacts_of(run):
    """The artifacts of a flow run by their keys."""
    filters = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    with get_client(sync_client=True) as prefect:
        found = prefect.read_artifacts(artifact_filter=filters, limit=50)
    return {artifact.key: artifact for artifact in found}
