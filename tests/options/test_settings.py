"""Settings by environment variables."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.settings import Settings


def test_reads_variables_when_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path))
    assert Settings().cache_dir == tmp_path
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", "")  # as good as unset
    assert Settings().cache_dir != Path()


def test_splits_prefixes_at_commas(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", " our_functions , vision.models,")
    assert Settings().function_modules == ("our_functions", "vision.models")


def test_does_not_show_secrets(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_WEBHOOK_SECRET", "correct-horse-battery")
    assert "correct-horse" not in repr(Settings())
    secret = Settings().webhook_secret
    assert secret is not None
    assert secret.get_secret_value() == "correct-horse-battery"


def test_refuses_invalid_values(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_WEBHOOK_MAX_BYTES", "many")
    with pytest.raises(ValidationError, match="webhook_max_bytes"):
        Settings()


@pytest.mark.parametrize("name", ["functions/my_function.py", "/tmp/f.py", "f.py", "..\\f"])
def test_refuses_paths_as_function_names(name):
    with pytest.raises(FunctionLoadError, match="is a path; .*PREFECT_CVAT_FUNCTION_MODULES"):
        load_function(name)


def test_loads_only_modules_under_allowed_prefixes(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    assert load_function("flow_functions.one_box").version == "1"
    for other in ("flow_functions_of_others.x", "os.path"):
        with pytest.raises(FunctionLoadError, match="not allowed .*PREFECT_CVAT_FUNCTION_MODULES"):
            load_function(other)
