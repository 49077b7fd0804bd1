"""The errors, as they travel between processes and machines."""

import pickle
from datetime import UTC, datetime

import pytest

from prefect_cvat import exceptions
from prefect_cvat.exceptions import ApiError, IncompleteRunError, PrefectCvatError
from prefect_cvat.runs.reports.report_model import RunReport

ALL = [getattr(exceptions, name) for name in exceptions.__all__ if name != "is_transient"]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_error_survives_pickling(kind):
    if issubclass(kind, ApiError):
        error = kind("refused", status=404, method="GET", path="/api", detail="no", request_id="7")
    elif kind is IncompleteRunError:
        report = RunReport(
            task_id=1,
            task_name="a",
            url="http://h/tasks/1",
            function="f",
            started=datetime.now(UTC),
            missing=3,
        )
        error = kind("not complete", report)
    else:
        error = kind("what was wrong")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert isinstance(back, PrefectCvatError)
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__
