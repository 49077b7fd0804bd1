"""The time that a first pass has saved, by stated seconds of each action."""

import pytest

from corrected_tasks import Boxes
from prefect_cvat import annotate_task
from prefect_cvat.corrections import saved_time
from prefect_cvat.corrections.project_savings import saved_in_tasks
from prefect_cvat.exceptions import RunNotFoundError
from prefect_cvat.options.correction_options import CorrectionSeconds

SECONDS = CorrectionSeconds(
    draw_box=100, move_edge=10, change_label=20, delete_shape=5, confirm=1, draw_outline=500
)


def test_each_action_takes_its_seconds(client, scene):
    people = scene.people
    people.move(people.shapes(0)[0], 3.0)  # one drag
    people.relabel(people.shapes(0)[1], "person")
    people.delete(people.shapes(1)[0])
    people.draw(1, [40, 30, 60, 45], "person")
    done = saved_time(client, scene.task_id, seconds=SECONDS)
    [car] = done.by_label
    assert (car.function, car.label) == ("Boxes", "car")
    assert (car.confirmed, car.moved, car.relabelled, car.deleted) == (1, 1, 1, 1)
    assert car.seconds_without == 3 * 100
    assert car.seconds_with == 4 * 1 + 10 + 20 + 5
    assert (done.drawn, done.seconds_drawing) == ({"person": 1}, 100)
    assert done.seconds_saved == 300 - 39
    assert (done.frames, done.frames_processed, done.runs) == (2, 6, 1)
    assert done.lines()[0].endswith(
        "4 min 21 s saved (65%): by hand 6 min 40 s, with the first pass 2 min 19 s"
    )


def test_shape_is_never_moved_longer_than_it_takes_to_draw_it(client, scene):
    left = scene.people.shapes(0)[0]
    scene.people.change(left, points=[1, 1, 14, 26])
    slow = SECONDS.changed(move_edge=80)
    assert saved_time(client, scene.task_id, seconds=slow).by_label[0].seconds_with == 2 * 1 + 100


def test_task_without_corrections_says_what_counts(client, scene):
    [line] = saved_time(client, scene.task_id).lines()
    assert "nothing is known to be corrected yet on 6 frames" in line
    assert "their job is completed" in line


def test_label_that_costs_more_than_it_saves_is_to_be_left_out(client, scene):
    for frame in range(6):
        for shape in scene.people.shapes(frame):
            scene.people.delete(shape)
    done = saved_time(client, scene.task_id)
    assert done.seconds_saved < 0
    assert done.advice == [
        "Boxes costs more than it saves for 'car' (0.9 min): leave it out (label_map with null for it)"
    ]
    assert "lost" in done.lines()[0]


def test_threshold_is_advised_where_it_would_have_saved(client, people):
    task = people(segment_size=0)
    annotate_task(client, task.task_id, Boxes())
    annotate_task(client, task.task_id, Boxes(45.0, "2"), conf_threshold=0.1)
    for frame in range(6):
        for shape in task.shapes(frame):
            if shape["score"] < 0.5 or shape["points"][0] > 40:
                task.delete(shape)
    done = saved_time(client, task.task_id, seconds=SECONDS.changed(draw_box=12, delete_shape=40))
    [advice] = done.advice
    assert "'car'" in advice


def test_project_adds_up_its_tasks_and_names_what_is_unknown(client, people):
    tasks = [people(), people()]
    for task in tasks:
        annotate_task(client, task.task_id, Boxes())
        task.delete(task.shapes(0)[0])
    tasks[0].draw(0, [40, 30, 60, 45], source="file")
    other = people()  # without a run
    ids = [other.task_id, *(task.task_id for task in tasks)]
    done = saved_in_tasks(client, ids, name="project 7", url="http://cvat/projects/7")
    assert (done.runs, done.frames, done.by_label[0].deleted) == (2, 2, 2)
    assert done.unknown[0].startswith(f"task {tasks[0].task_id}: 1 annotation of source 'file'")


def test_project_without_a_recorded_run_says_where_records_are(client, people):
    with pytest.raises(RunNotFoundError, match=r"no run on a task of project 7 .* PREFECT_CVAT_RUNS_DIR"):
        saved_in_tasks(client, [people().task_id], name="project 7", url="")
