"""A task that a run has annotated and people correct, in a sandbox over HTTP."""

from types import SimpleNamespace

import pytest

from corrected_tasks import Boxes, People
from prefect_cvat import annotate_task


@pytest.fixture(autouse=True)
def runs_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def people(client, make_task):
    """A task of six frames in two jobs, and the people who correct it."""

    def create(**fields):
        return People(client, make_task(6, **{"segment_size": 3, **fields}))

    return create


@pytest.fixture
def scene(client, people):
    """The same, after a run."""
    done = people()
    run = annotate_task(client, done.task_id, Boxes(), use_cache=False)
    return SimpleNamespace(people=done, task_id=done.task_id, run=run.run)
