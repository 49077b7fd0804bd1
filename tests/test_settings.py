"""When the settings of a machine are read."""

from prefect_cvat.settings import current_settings


def test_current_settings_follow_the_environment(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "7")
    before = current_settings()
    assert before.stale_read_seconds == 7
    assert current_settings() is before
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "8")
    assert current_settings().stale_read_seconds == 8
