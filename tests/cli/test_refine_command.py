"""The subcommand `refine`, as a process of its own."""

import json

import pytest

from command_line import run_command_text as run

CUTS = """
from prefect_cvat.auto_annotation import InteractionFunctionSpec, InteractionResultShape

class Cuts:
    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)
    def detect(self, context, image, prompts):
        (x1, y1), (x2, y2) = prompts.bounding_box
        return [InteractionResultShape(type="polygon", points=[x1, y1, x2, y1, x2, y2])]

create = Cuts
"""


@pytest.fixture
def cutting_file(tmp_path):
    path = tmp_path / "cuts.py"
    path.write_text(CUTS)
    return path


@pytest.fixture
def boxes(client, make_task):
    """A task with a box of a car by hand, one by a machine, and one of a person."""
    task_id = make_task(5)
    [job] = client.jobs(task_id)
    car, person = client.labels(task_id)
    shape = {"type": "rectangle", "points": [5, 5, 20, 20], "label_id": car.id, "source": "manual"}
    more = [{**shape, "frame": 0}, {**shape, "frame": 2, "source": "auto"}]
    client.create_job_annotations(job.id, {"shapes": [*more, {**shape, "frame": 4, "label_id": person.id}]})
    return task_id


def types_by_frame(client, task_id):
    [job] = client.jobs(task_id)
    return {shape["frame"]: shape["type"] for shape in client.job_annotations(job.id).shapes}


def test_refines_selected_shapes(server, boxes, client, cutting_file, tmp_path):
    done = run(
        *server, "refine", boxes, "--function-file", cutting_file, "--label", "car", "--label", "person",
        "--source", "manual", "--shape-type", "rectangle", "--to", "polygon", "--frames", "0-3", "--json",
        "--report", tmp_path / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["refined"], report["removed"], report["labels"]) == (1, 1, {"car": 1})
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert types_by_frame(client, boxes) == {0: "polygon", 2: "rectangle", 4: "rectangle"}

    done = run(*server, "refine", boxes, "--function-file", cutting_file)
    assert done.returncode == 0, done.stderr
    assert "refined: 2 shapes" in done.stdout
    assert types_by_frame(client, boxes) == {0: "polygon", 2: "mask", 4: "mask"}


def test_dry_run_prints_shapes_to_refine_and_writes_nothing(server, boxes, client, cutting_file):
    arguments = [*server, "refine", boxes, "--function-file", cutting_file, "--keep-originals"]
    done = run(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    [job] = client.jobs(boxes)
    assert done.stdout.splitlines() == [
        f"task {boxes} ('a task'): 3 shapes (2 car, 1 person) on 3 frames to refine",
        "each becomes a mask; the originals stay",
        "3 chunks of up to 2 frames to fetch",
        f"1 job to write: {job.id}",
        "nothing was uploaded",
    ]
    assert set(types_by_frame(client, boxes).values()) == {"rectangle"}
    assert run(*arguments).returncode == 0
    assert len(client.job_annotations(job.id).shapes) == 6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "Cars"], 2, "has no label 'Cars'; did you mean 'car'?"),
        (["--shape-type", "mask"], 2, "'mask' is not one of"),
        (["--to", "rectangle"], 2, "'rectangle' is not one of"),
        (["--function", "nanodet_detection"], 2, "give one of --function"),
    ],
)
def test_invalid_refinement_is_a_one_line_error(server, boxes, cutting_file, arguments, code, message):
    done = run(*server, "refine", boxes, "--function-file", cutting_file, *arguments)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
