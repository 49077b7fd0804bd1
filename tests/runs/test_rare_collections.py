"""Full garbage collections are rarer during a run, and as before after it."""

import gc
from types import SimpleNamespace

import pytest

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.runs.execution.rare_collections import MIDDLE_COLLECTIONS, NEW_OBJECTS, collecting_rarely

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_full_collections_are_rare_during_a_run_and_as_before_after_it(client, make_task):
    during = []

    def detect(context, image):
        during.append(gc.get_threshold())
        return []

    annotate_task(client, make_task(1), SimpleNamespace(spec=SPEC, detect=detect))
    assert during == [(NEW_OBJECTS, 10, MIDDLE_COLLECTIONS)]
    assert gc.get_threshold() == (700, 10, 10)


def test_the_last_of_several_runs_restores_the_threshold():
    with collecting_rarely():
        with collecting_rarely():
            pass
        assert gc.get_threshold() == (NEW_OBJECTS, 10, MIDDLE_COLLECTIONS)
    assert gc.get_threshold() == (700, 10, 10)


def test_higher_thresholds_of_the_process_stay():
    gc.set_threshold(50_000, 10, 1000)
    with collecting_rarely():
        assert gc.get_threshold() == (50_000, 10, 1000)
    assert gc.get_threshold() == (50_000, 10, 1000)


def test_collection_that_is_switched_off_stays_off():
    gc.set_threshold(0, 10, 10)
    with collecting_rarely():
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold() == (0, 10, 10)


def test_a_threshold_that_is_set_during_a_run_stays():
    with collecting_rarely():
        gc.set_threshold(5000, 20, 20)
    assert gc.get_threshold() == (5000, 20, 20)
