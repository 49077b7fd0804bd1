"""The flow that annotates a project, on a real Prefect server, against the sandbox over HTTP."""

import importlib
import sys

import pytest

from pictures import picture
from prefect_cvat.exceptions import NotFoundError, RunsFailedError
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.fan_out import FanOut
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.task_selection_options import TaskSelection
from prefect_cvat.planning import task_search

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

HERE = FanOut(deployment=None)
FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


@pytest.fixture
def project(client):
    """A project with the label `car`, and a way to put tasks into it."""
    body = {"name": "streets", "labels": [{"name": "car"}]}
    project_id = client._transport.json("POST", "/api/projects", body=body)["id"]

    def add(name: str, frames: int = 4, segment_size: int = 0) -> int:
        task = client.create_task(name, [], project_id=project_id, segment_size=segment_size)
        if frames:
            images = {f"{i:04}.png": picture(seed=i) for i in range(frames)}
            client.upload_images(task.id, images, chunk_size=2)
        return task.id

    return project_id, add


def boxes(client, task_id: int) -> list[int]:
    return sorted(shape["frame"] for shape in client.task_annotations(task_id).shapes)


def test_annotates_each_task_once_and_reports_left_out_tasks(credentials, client, project):
    project_id, add = project
    first, second, empty = add("first"), add("second", frames=2), add("no data yet", frames=0)

    report = annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE)
    assert report.completed == [f"task {first}", f"task {second}"]
    assert (boxes(client, first), boxes(client, second)) == ([0, 1, 2, 3], [0, 1])
    [why] = report.left_out
    assert f"task {empty}" in why
    assert "no data yet" in why

    third = add("third")
    report = annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE)
    assert report.completed == [f"task {third}"]
    assert report.already_annotated == [f"task {first}", f"task {second}"]

    other_settings = annotate_project(
        credentials, project_id, function=FUNCTION, labels=LabelOptions(conf_threshold=0.9), fan_out=HERE
    )
    assert len(other_settings.completed) == 3
    assert boxes(client, third) == [0, 1, 2, 3]


def test_splits_large_task_by_jobs(credentials, client, project):
    project_id, add = project
    large, small = add("large", frames=6, segment_size=2), add("small", frames=2)
    report = annotate_project(
        credentials, project_id, function=FUNCTION, fan_out=FanOut(deployment=None, shard_frames=4)
    )
    a, b, c = (job.id for job in client.jobs(large))
    assert report.completed == [f"task {large}, jobs {a}-{b}", f"task {large}, job {c}", f"task {small}"]
    assert boxes(client, large) == [0, 1, 2, 3, 4, 5]


def test_annotates_only_matching_tasks_and_jobs(credentials, client, project):
    project_id, add = project
    night, day = add("night-1", segment_size=2), add("day-1")
    [begun, fresh] = client.jobs(night)
    client._transport.json("PATCH", f"/api/jobs/{begun.id}", body={"state": "in progress"})
    report = annotate_project(
        credentials,
        project_id,
        TaskSelection(name_pattern="night-*", job_states=["new"]),
        function=FUNCTION,
        fan_out=HERE,
    )
    assert report.completed == [f"task {night}, job {fresh.id}"]
    assert (boxes(client, night), boxes(client, day)) == ([2, 3], [])


def test_keeps_manual_corrections(credentials, client, project):
    project_id, add = project
    task_id = add("a task", frames=6, segment_size=2)
    tasks = TaskSelection(job_states=["new"])
    run = {"tasks": tasks, "function": FUNCTION, "fan_out": HERE}
    annotate_project(credentials, project_id, **run)
    first, second, _ = client.jobs(task_id)
    client.json("PATCH", f"/api/jobs/{first.id}", body={"state": "in progress"})
    wrong = client.job_annotations(second.id).shapes[0]
    client.delete_job_annotations(second.id, {"shapes": [wrong]})

    report = annotate_project(credentials, project_id, **run)
    assert (report.completed, report.already_annotated) == ([], [f"task {task_id}"])
    report = annotate_project(
        credentials, project_id, **{**run, "fan_out": FanOut(deployment=None, shard_frames=2)}
    )
    assert report.completed == []
    assert len(boxes(client, task_id)) == 5


def test_reports_task_deleted_in_the_meantime(credentials, client, project, monkeypatch):
    project_id, add = project
    gone, there = add("gone"), add("there")
    read = task_search.read_task

    def read_task(client, task_id):
        if task_id == gone:
            client.json("DELETE", f"/api/tasks/{gone}")
        return read(client, task_id)

    monkeypatch.setattr(task_search, "read_task", read_task)
    report = annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE)
    assert report.completed == [f"task {there}"]
    [why] = report.left_out
    assert f"there is no task {gone}" in why


def test_failed_task_does_not_stop_others(credentials, client, project):
    project_id, add = project
    bad = client.create_task("bad", [], project_id=project_id).id
    client.upload_images(bad, {"cursed.png": picture()})
    good = add("good")
    with pytest.raises(RunsFailedError, match=f"1 of 2 runs did not complete: task {bad}: .*cursed.png"):
        annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE)
    assert boxes(client, good) == [0, 1, 2, 3]


def test_fails_without_project_or_all_tasks(credentials, client, project):
    project_id, add = project
    task_id = add("a task")
    with pytest.raises(ValueError, match="no project is given; set project_id.* or all_tasks=True"):
        annotate_project(credentials, function=FUNCTION, fan_out=HERE)
    with pytest.raises(ValueError, match=f"project_id={project_id} and all_tasks=True contradict each other"):
        annotate_project(credentials, project_id, all_tasks=True, function=FUNCTION, fan_out=HERE)
    assert boxes(client, task_id) == []


def test_annotates_all_tasks_with_all_tasks(credentials, client, project, make_task):
    _, add = project
    inside, outside = add("everywhere-1"), make_task(1)
    client.json("PATCH", f"/api/tasks/{outside}", body={"name": "everywhere-2"})
    everywhere = TaskSelection(name_pattern="everywhere-*")
    report = annotate_project(credentials, all_tasks=True, tasks=everywhere, function=FUNCTION, fan_out=HERE)
    assert report.completed == [f"task {inside}", f"task {outside}"]


def test_missing_project_fails(credentials):
    with pytest.raises(NotFoundError):
        annotate_project(credentials, 987654, function=FUNCTION, fan_out=HERE)


def test_missing_deployment_error_names_the_commands(credentials, project):
    project_id, add = project
    add("a task")
    with pytest.raises(RunsFailedError, match="no deployment 'annotate task/nowhere'.*prefect-cvat serve"):
        annotate_project(
            credentials, project_id, function=FUNCTION, fan_out=FanOut(deployment="annotate task/nowhere")
        )


def test_form_describes_every_parameter():
    parameters, definitions = annotate_project.parameters.properties, annotate_project.parameters.definitions
    for name, parameter in parameters.items():  # a group has its own description
        group = definitions.get(parameter.get("$ref", "").rpartition("/")[2], {})
        assert parameter.get("description") or group.get("description"), name
    for name in ("TaskSelection", "FanOut"):
        fields = annotate_project.parameters.definitions[name]["properties"]
        assert all(field.get("description") for field in fields.values())


def test_annotates_again_after_a_helper_module_changed(credentials, client, project, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "with_a_helper")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "with_a_helper.py").write_text(
        "import its_helper\nfrom flow_functions.one_box import spec\n"
        "from prefect_cvat.auto_annotation import rectangle\n"
        "def detect(context, image): return [rectangle(0, [0, 0, its_helper.size(), 9])]\n"
    )

    def annotate(helper):
        (tmp_path / "its_helper.py").write_text(helper)
        importlib.invalidate_caches()
        for name in ("with_a_helper", "its_helper"):  # as in a process of its own
            sys.modules.pop(name, None)
        return annotate_project(credentials, project_id, function="with_a_helper", fan_out=HERE)

    project_id, add = project
    only = f"task {add('only', frames=2)}"
    helper = "def size(): return 5\n"
    assert annotate(helper).completed == [only]
    assert annotate(helper).already_annotated == [only]
    assert annotate(helper.replace("5", "5 + 11")).completed == [only]
    cannot_be_told = helper.replace("5", "eval('7')")
    for _ in range(2):
        report = annotate(cannot_be_told)
        assert report.completed == [only]
        assert "reaches code that is chosen only when it runs" in report.history_unknown[0]


def test_reports_what_earlier_runs_have_saved(credentials, client, project, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path))
    project_id, add = project
    task_id = add("a task")
    report = annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE, saved_time=True)
    assert report.saved.frames == 0
    [job] = client.jobs(task_id)
    wrong = client.job_annotations(job.id).shapes[0]
    client.delete_job_annotations(job.id, {"shapes": [wrong], "tags": [], "tracks": []})
    client._transport.json("PATCH", f"/api/jobs/{job.id}", body={"state": "completed"})
    report = annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE, saved_time=True)
    [car] = report.saved.by_label
    assert (car.function, car.confirmed, car.deleted) == (FUNCTION, 3, 1)
    assert f"| {FUNCTION} | car | 3 | 0 | 1 |" in report.markdown().replace("\\", "")
    assert any(line.startswith(f"project {project_id} at ") for line in report.lines())


def test_says_why_it_is_not_known_what_runs_have_saved(credentials, project, monkeypatch, tmp_path):
    project_id, add = project
    add("a task")
    annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE)
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path))
    report = annotate_project(credentials, project_id, function=FUNCTION, fan_out=HERE, saved_time=True)
    assert "no run on a task" in report.saved_unknown
    assert "It is not known what runs have saved" in report.markdown()
