"""Fixtures for tests of writing."""

from functools import partial

import pytest

from prefect_cvat.upload.job_writer import JobWriter
from upload.job_writing import Scene


@pytest.fixture
def quick_retries(monkeypatch):
    """Writers verify again after 10 ms."""
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)


@pytest.fixture
def short_late_commits(monkeypatch):
    """Writers wait half a second for a write that may still be committed."""
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.5")


@pytest.fixture
def scene(client, make_task, tmp_path_factory):
    """A job for writers."""
    return Scene(client, make_task(4), partial(tmp_path_factory.mktemp, "writer"))
