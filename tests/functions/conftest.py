"""What the tests of the built-in functions share: data, contexts."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefect_cvat.auto_annotation import DetectionFunctionContext


@dataclass(frozen=True)
class Context(DetectionFunctionContext):
    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False
    frame_name: str = "frame.jpg"


@pytest.fixture
def context() -> Callable[..., DetectionFunctionContext]:
    return Context


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of data that are for tests only."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PREFECT_CVAT_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set PREFECT_CVAT_TEST_DATA")
    return folder
