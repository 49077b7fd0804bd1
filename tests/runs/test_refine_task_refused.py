"""Options, functions and images that refine_task refuses without changing the task."""

import pytest

from ellipses import Ellipses
from prefect_cvat import refine_task
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    label_spec,
)
from prefect_cvat.exceptions import MediaError
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.upload.job_writer import JobWriter
from runs.refined_shapes import box, label_ids, place, shapes_of
from served_chunks import with_chunks, without_chunks


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.4")


def test_labels_of_other_types_are_named_before_chunks_are_fetched(client, make_task, monkeypatch):
    task_id = make_task(
        2, labels=[label_spec("car", None, type="rectangle"), label_spec("dog", None, type="mask")]
    )
    [job] = client.jobs(task_id)
    ids = label_ids(client, task_id)
    without_chunks(monkeypatch)
    place(client, job, box(ids["car"]))
    message = f"task {task_id} takes no mask for label 'car' .of type 'rectangle'.; .* refine other labels"
    with pytest.raises(BadFunctionError, match=message):
        refine_task(client, task_id, Ellipses())
    monkeypatch.undo()
    place(client, job, box(ids["dog"]))
    assert refine_task(client, task_id, Ellipses(), labels=["dog"]).refined == 1


def test_shapes_unusable_as_prompts_are_named_before_chunks_are_fetched(client, make_task, monkeypatch):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"], type="points", points=[8, 8]))
    without_chunks(monkeypatch)
    function = Ellipses()
    function.spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)
    with pytest.raises(BadFunctionError, match="it needs a bounding box, and points give none"):
        refine_task(client, task_id, function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["cars"]}, "has no label 'cars'; did you mean 'car'?"),
        ({"sources": ["human"]}, "sources.0. must be 'auto', .* not 'human'"),
        ({"shape_types": ["polygon"]}, "shape_types.0. must be 'rectangle' or 'points', not 'polygon'"),
        ({"to": "rectangle"}, "to must be 'mask' or 'polygon', not 'rectangle'"),
        ({"to": None}, "to must be 'mask' or 'polygon', not None"),
        ({"tolerance": -1}, "tolerance must be 0 or more"),
        ({"frames": [0, 77]}, "has no frame 77"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_out_of_range_options_are_refused(client, make_task, options, message):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"]))
    with pytest.raises(ValueError, match=message):
        refine_task(client, task_id, Ellipses(), **options)


def test_refuses_other_functions_and_other_existing_options(client, make_task):
    detection = type("Boxes", (), {"spec": DetectionFunctionSpec(labels=[]), "detect": None})()
    with pytest.raises(BadFunctionError, match="'Boxes' is not an interaction function"):
        refine_task(client, make_task(1), detection)
    with pytest.raises(ValueError, match="existing='clear'"):
        RefineRun(client, 1, Ellipses(), Options(existing=Existing.CLEAR))


class FailsOn(Ellipses):
    """Breaks on an image, after it has found something on those before."""

    def __init__(self, number, how):
        super().__init__()
        self.number, self.how = number, how

    def detect(self, context, image, prompts):
        if len(self.asked) == self.number:
            return self.how()
        return super().detect(context, image, prompts)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda: 1 / 0, "frame 3 .*ZeroDivisionError"),
        (lambda: [InteractionResultShape(type="polygon", points=[1, 2])], "frame 3 .*polygon with 2 numbers"),
        (lambda: None, "frame 3 .*object of type 'NoneType'"),
    ],
    ids=["raises", "points", "none"],
)
def test_bad_output_leaves_task_unchanged(client, make_task, how, message):
    task_id = make_task(6)
    [job] = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    place(client, job, *(box(car, frame) for frame in range(5)))
    before = client.job_annotations(job.id)
    with pytest.raises(BadFunctionError, match=message):
        refine_task(client, task_id, FailsOn(3, how), frames_per_batch=1)
    assert client.job_annotations(job.id) == before


def test_broken_image_leaves_the_task_unchanged(client, make_task, monkeypatch):
    task_id = make_task(4)
    [job] = client.jobs(task_id)
    place(client, job, *(box(label_ids(client, task_id)["car"], frame) for frame in range(4)))
    before = client.job_annotations(job.id)
    cut = lambda params, data: data[: len(data) // 2] if params["number"] == 1 else data  # noqa: E731
    with_chunks(monkeypatch, cut)
    with pytest.raises(MediaError, match="chunk 1"):
        refine_task(client, task_id, Ellipses())
    assert client.job_annotations(job.id) == before


def test_keeps_originals_changed_during_the_run(client, make_task):
    task_id = make_task(4)
    [job] = client.jobs(task_id)
    car = label_ids(client, task_id)["car"]
    place(client, job, box(car, 0), box(car, 3))

    class Corrects(Ellipses):
        def detect(self, context, image, prompts):
            if len(self.asked) == 1:
                [shape] = [
                    s for s in shapes_of(client, task_id) if (s["frame"], s["type"]) == (0, "rectangle")
                ]
                client._transport.json(
                    "PATCH",
                    f"/api/jobs/{job.id}/annotations",
                    params={"action": "update"},
                    body={"shapes": [{**shape, "points": [1, 2, 9, 10]}]},
                )
            return super().detect(context, image, prompts)

    report = refine_task(client, task_id, Corrects(), frames_per_batch=1)
    kinds = sorted((shape["frame"], shape["type"]) for shape in shapes_of(client, task_id))
    assert kinds == [(0, "mask"), (0, "rectangle"), (3, "mask")]
    assert report.removed == 1
