"""An interrupted run returns, and releases its locks, only after its last stage has ended."""

import threading
from types import SimpleNamespace

import pytest

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.sandbox.faults.kinds import Latency
from prefect_cvat.sandbox.faults.rules import Rule

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


class Interrupted(ThreadSubmitter):
    """Ctrl-C while the upload of the first batch is waited for."""

    def __init__(self):
        super().__init__()
        self.futures = []

    def submit(self, stage, run, *args):
        future = super().submit(stage, run, *args)
        if stage == "upload_batch":
            result = future.result

            def interrupted(timeout=None):
                if threading.current_thread() is threading.main_thread():
                    future.result = result
                    raise KeyboardInterrupt
                return result(timeout)

            future.result = interrupted
        self.futures.append(future)
        return future


def test_interrupted_run_waits_for_the_upload_of_its_first_batch(client, make_task, faults):
    task_id = make_task(1)
    function = SimpleNamespace(spec=SPEC, detect=lambda context, image: [rectangle(7, [1, 2, 11, 12])])
    faults.set([Rule(methods=("PATCH",), path="/annotations$", fault=Latency(seconds=2))])
    run = AnnotateRun(client, task_id, function, Options())
    with Interrupted() as threads:
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(run, threads)
        assert [future for future in threads.futures if not future.done()] == []
