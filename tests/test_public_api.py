"""The names that `import prefect_cvat` provides, and the modules it loads."""

import subprocess
import sys

import pytest

import prefect_cvat


@pytest.mark.parametrize("name", prefect_cvat.__all__)
def test_public_name_can_be_loaded(name):
    value = getattr(prefect_cvat, name)
    assert getattr(value, "__name__", "").rpartition(".")[2] == name
    assert name in dir(prefect_cvat)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'annotate_tasks'"):
        _ = prefect_cvat.annotate_tasks


def test_import_loads_no_large_library():
    code = "import prefect_cvat, sys; print(sorted({'numpy', 'prefect', 'pydantic', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
