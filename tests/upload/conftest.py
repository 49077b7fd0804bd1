"""Fixtures for tests of writing."""

import pytest

from prefect_cvat.upload.job_writer import JobWriter


@pytest.fixture
def quick_retries(monkeypatch):
    """Writers verify again after 10 ms."""
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
