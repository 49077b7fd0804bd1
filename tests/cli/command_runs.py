"""Functions for the tests of the command line, and its processes."""

import os
import subprocess
import sys

from command_line import run_command

BOXES = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("cat", 2)])
version = "1"

def detect(context, image):
    return [rectangle(1, [0, 0, 9, 9], score=0.5), rectangle(2, [5, 5, 20, 20], score=0.9)]
"""

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def __init__(self, size: int = 5) -> None:
        self.size = size
    def detect(self, context, image):
        return [rectangle(1, [0, 0, self.size, self.size], score=0.5)]

create = Boxes
"""

FAILS = BOXES.replace("    return [", "    raise ZeroDivisionError('told to')\n    return [")

SLOW = BOXES.replace("def detect", "import time\n\ndef detect").replace(
    "    return [", "    time.sleep(0.3)\n    return ["
)

CUTS = """
from prefect_cvat.auto_annotation import InteractionFunctionSpec, InteractionResultShape

spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)

def detect(context, image, prompts):
    (x1, y1), (x2, y2) = prompts.bounding_box
    return [InteractionResultShape(type="polygon", points=[x1, y1, x2, y1, x2, y2])]
"""

ALLOW = "--allow-unmatched-labels"


def command(*arguments):
    return [sys.executable, "-m", "prefect_cvat", *map(str, arguments)]


def run(*arguments, memory=None, timeout=120, **environment):
    if memory is None and not environment:
        return run_command(*arguments, timeout=timeout)
    limited = ["bash", "-c", f'ulimit -v {memory} && exec "$@"', "-"] if memory else []
    return subprocess.run(
        [*limited, *command(*arguments)],
        capture_output=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", **environment},
    )


def shapes(client, task_id):
    return [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]


def draw_a_car(client, task_id):
    """Draw a box on frame 1 as a human does; returns its job."""
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    place = {"type": "rectangle", "points": [5, 5, 30, 30]}
    drawn = {**place, "frame": 1, "label_id": car.id, "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    return job
