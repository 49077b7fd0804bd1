"""Functions that are made for a task, in the gateway: their labels come from its configuration."""

import pytest

from coloured_tasks import BLUE, RED, coloured_picture
from flow_functions import coloured_areas
from prefect_cvat.gateway import GatewayConfiguration, ServedFunction
from prefect_cvat.gateway.function_source import load_served_function, source_digest

FUNCTION = "flow_functions.coloured_areas"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def served(**fields):
    return ServedFunction(name="colours", function=FUNCTION, **fields)


def test_labels_and_prompts_come_from_the_configuration():
    labels = ["red", {"name": "sky", "type": "rectangle"}]
    entry = served(function_parameters={"task_labels": labels}, prompts={"sky": "a blue sky"})
    function = load_served_function(entry)
    assert [label.name for label in function.spec.labels] == ["red", "sky"]
    assert function.colours[1] == [(0, 0, 255)]


def test_a_function_with_other_labels_or_prompts_is_another():
    entries = [
        served(function_parameters={"task_labels": ["red"]}),
        served(function_parameters={"task_labels": ["red", "blue"]}),
        served(function_parameters={"task_labels": ["red"]}, prompts={"red": "a red one"}),
    ]
    assert len({source_digest(entry) for entry in entries}) == 3


def test_cvat_calls_a_function_with_the_labels_of_the_configuration(serve, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path))
    from_file = ServedFunction(name="without", function_file=coloured_areas.__file__)
    with_labels = from_file.changed(
        name="colours", function_parameters={"task_labels": ["red", "sky"]}, prompts={"sky": "blue"}
    )
    calls = serve(GatewayConfiguration(port=0, functions=[with_labels, from_file]))
    assert calls.gateway.wait_until_described(60)
    assert list(calls.functions().json()) == ["colours"]
    assert "is made for the labels of a task, and there is no task here; give the labels" in caplog.text
    found = calls.from_page("colours", coloured_picture(red=RED, blue=BLUE))
    assert {(item["label"], tuple(item["points"])) for item in found} == {
        ("red", tuple(RED)),
        ("sky", tuple(BLUE)),
    }
