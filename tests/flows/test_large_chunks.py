"""Flow runs on tasks of large chunks: Prefect tasks of several batches share downloaded chunks."""

import pytest

from prefect_cvat.exceptions import ServerError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.planning.plan import PART_FRAMES
from served_chunks import with_chunks

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


@pytest.mark.parametrize("failures", [0, 2])
def test_chunk_is_fetched_once_for_its_batches_even_after_a_retry(
    credentials, client, make_task, monkeypatch, failures
):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    task_id = make_task(400, chunk_size=250, size=(60, 12))
    downloads = []

    def fail_at_first(params, data):
        downloads.append(params["number"])
        if params["number"] == 0 and downloads.count(0) <= failures:
            raise ServerError("it is down", status=502, method="GET", path="/data")

    with_chunks(monkeypatch, fail_at_first)
    report = annotate_task(
        task_id, credentials, "flow_functions.numbered", execution=ExecutionSettings(frames_per_batch=1)
    )
    assert sorted(downloads[: failures + 2]) == [0] * (1 + failures) + [1]
    assert downloads[failures + 2 :] == [0, 1], "for the pictures in Prefect, once the run is over"
    assert report.batches == 4 + 2
    assert report.frames == report.added == 400
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    found = {shape["frame"]: shape["points"][2] for shape in shapes}
    assert len(shapes) == 400
    assert found == {frame: pytest.approx(1 + frame / 10) for frame in range(400)}
    assert PART_FRAMES * 3 < 250 <= PART_FRAMES * 4
