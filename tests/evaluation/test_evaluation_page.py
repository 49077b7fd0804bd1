"""The page of an evaluation."""

from pictures import picture
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.evaluation import compare_task
from prefect_cvat.evaluation.report.evaluation_page import render_evaluation

REVERSED = "ca\u202er"
"""The name of a label after which text would run from right to left."""


class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec(REVERSED, 1)])

    def __init__(self, right):
        self.right = right

    def detect(self, context, image):
        return [rectangle(1, [10, 10, self.right, 30], score=0.9)]


def test_characters_that_change_the_direction_of_text_are_not_on_the_page(client):
    task = client.create_task("a task", [label_spec(REVERSED, None)])
    client.upload_images(task.id, {"0.png": picture(64, 48)})
    shape = {
        "type": "rectangle",
        "frame": 0,
        "label_id": client.labels(task.id)[0].id,
        "points": [10, 10, 30, 30],
    }
    client.create_job_annotations(client.jobs(task.id)[0].id, {"shapes": [shape | {"source": "manual"}]})
    done = compare_task(client, task.id, Boxes(30), Boxes(60), against_name=f"x{REVERSED}", resamples=20)
    page = render_evaluation(client, done.first, compared=done)
    assert '<th scope="row">ca r</th>' in page
    assert "\u202e" not in page
