"""Cached detections are mapped by the label map of each run, and checked again."""

import pytest

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    label_spec,
    polygon,
    rectangle,
)


class CarsAndBoats:
    """A function that finds one car, and boats as they are given; it counts the images that it is shown."""

    version = "1"
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("boat", 2)])

    def __init__(self, *boats):
        self.boats = boats
        self.images = 0

    def detect(self, context, image):
        self.images += 1
        return [rectangle(1, [0, 0, 5, 9]), *self.boats]


@pytest.fixture
def task_id(make_task):
    return make_task(1, labels=[label_spec("car", None), label_spec("ship", None, type="rectangle")])


def shapes(client, task_id):
    return [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]


HARMFUL = {
    "too few numbers": (lambda: rectangle(2, [1.0]), "with 1 numbers in its points"),
    "NaN": (lambda: rectangle(2, [1, 2, float("nan"), 4]), "not finite"),
    "another type than the task's": (
        lambda: polygon(2, [1, 1, 20, 1, 20, 20]),
        r"shape of type 'polygon' \(expected 'rectangle'\) for label 'boat'",
    ),
}


@pytest.mark.parametrize(("boat", "message"), HARMFUL.values(), ids=HARMFUL)
def test_unchecked_unmapped_detections_are_refused_when_mapped(client, task_id, boat, message):
    report = annotate_task(client, task_id, CarsAndBoats(boat()), allow_unmatched_labels=True)
    assert (report.added, report.unmatched) == (1, {"boat": 1})
    again = CarsAndBoats(boat())
    with pytest.raises(BadFunctionError, match=message):
        annotate_task(client, task_id, again, label_map={"boat": "ship"})
    assert again.images == 1, "it is told as what the function returned now"


def test_cached_unmapped_detections_are_used_when_mapped(client, task_id):
    boat = rectangle(2, [1, 2, 30, 40], rotation=361.0, score=1 + 1e-8)
    annotate_task(client, task_id, CarsAndBoats(boat), allow_unmatched_labels=True)
    again = CarsAndBoats(boat)
    annotate_task(client, task_id, again, label_map={"boat": "ship"}, existing="clear")
    assert again.images == 0
    assert [(shape["rotation"], shape["score"]) for shape in shapes(client, task_id)] == [(0, 1), (1, 1)]


@pytest.mark.parametrize("strange", [object(), {"id": 5}, "x"], ids=["object", "dict", "str"])
def test_uncacheable_unmapped_detections_are_ignored(client, task_id, strange, caplog):
    boat = rectangle(2, [1, 2, 30, 40], attributes=[])
    boat.attributes.append(strange)
    function = CarsAndBoats(boat)
    for added, images in ((1, 1), (0, 2)):
        report = annotate_task(client, task_id, function, allow_unmatched_labels=True)
        assert (report.added, report.unmatched, function.images) == (added, {"boat": 1}, images)
    assert "detections cannot be cached: " in caplog.text
