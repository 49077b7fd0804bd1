"""Fixtures for tests of tracking."""

import pytest

from prefect_cvat.upload.job_writer import JobWriter
from served_chunks import with_chunks


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.5")


@pytest.fixture
def downloads(monkeypatch):
    """The numbers of the chunks that are fetched."""
    numbers = []
    with_chunks(monkeypatch, lambda params, data: numbers.append(params["number"]))
    return numbers
