"""Causes of the messages under "The task"."""

import pytest

from docs.causes import Causes, annotator_of, function
from pictures import picture
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import label_spec, rectangle
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import PrefectCvatError

cause = Causes()


@cause
def no_data(given):
    annotate_task(
        given.client, given.client.create_task("empty", [label_spec("person", None)]).id, function()
    )


@cause
def no_images(given):
    task = given.client.create_task("broken", [label_spec("person", None)])
    given.client.upload_images(task.id, {"broken.png": b"this is not an image"})


@cause
def jobs_are_hidden(given):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "visible_jobs", lambda *_: [])
        annotate_task(given.client, given.task, function())


@cause
def honeypots_are_not_told(given):
    pool = {"mode": "gt_pool", "frame_selection_method": "random_uniform", "frame_count": 2}
    task = given.client.create_task("a pool", [label_spec("person", None)]).id
    given.client.upload_images(
        task,
        {f"{i}.png": picture(seed=i) for i in range(6)},
        sorting_method="random",
        validation_params={**pool, "frames_per_job_count": 1},
    )
    job = next(job for job in given.client.jobs(task) if job.type == "annotation").id
    annotate_task(annotator_of(given, job), task, function(), jobs=[job])


@cause
def nobody_has_annotated(given):
    evaluate_task(given.client, given.task, function())


@cause
def what_was_stored_is_lost(given):
    task = given.client.create_task("lossy", [label_spec("person", None)]).id
    given.client.upload_images(task, {"one.png": picture()})
    loses = {"kind": "store_part", "share": 0}
    given.faults.set([{"methods": ["PATCH"], "actions": ["create"], "fault": loses}])
    try:
        annotate_task(given.client, task, function(lambda *_: [rectangle(0, [1, 1, 9, 9])]), use_cache=False)
    finally:
        given.faults.clear()


@cause
def two_runs(given):
    def detect(context, image):
        with pytest.raises(PrefectCvatError) as caught:
            annotate_task(given.client, given.task, function())
        errors.append(caught.value)
        return []

    errors = []
    first = function(detect)
    first.version = "1"
    annotate_task(given.client, given.task, first, use_cache=False)
    raise errors[0]
