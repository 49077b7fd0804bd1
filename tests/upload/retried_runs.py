"""Runs with stages that are retried after an error."""

from types import SimpleNamespace

from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline


class Retrying(ThreadSubmitter):
    """Calls a stage again after it raised, as Prefect does."""

    def submit(self, stage, run, *args):
        method = getattr(run, stage)

        def again(*args):
            try:
                return method(*args)
            except PrefectCvatError:
                return method(*args)

        return super().submit("again", SimpleNamespace(again=again), *args)


def retried(client, task_id, function, **options):
    run = AnnotateRun(client, task_id, function, Options(use_cache=False, **options))
    with Retrying() as threads:
        return run_pipeline(run, threads)
