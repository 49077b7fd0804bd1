"""The subcommand `evaluate`, as a process of its own."""

import json

import pytest

from command_line import run_command_text
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.reply import forbidden
from review_pages import captions_of

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("person", 2)])
    def detect(self, context, image):
        return [rectangle(1, [0, 0, 20, 20], score=0.8), rectangle(2, [30, 0, 50, 20], score=0.3)]

create = Boxes
"""


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture
def function(tmp_path):
    path = tmp_path / "boxes.py"
    path.write_text(FUNCTION)
    return ["--function-file", path]


@pytest.fixture
def drawn_task(client, make_task):
    """A task of three frames; humans have drawn a car on the first two."""
    task_id = make_task(3)
    labels = {label.name: label.id for label in client.labels(task_id)}
    shapes = [
        {"type": "rectangle", "frame": n, "label_id": labels["car"], "points": [0, 0, 20, 20], "source": "manual"}
        for n in range(2)
    ]  # fmt: skip
    [job] = client.jobs(task_id)
    client.create_job_annotations(job.id, {"shapes": shapes, "tags": [], "tracks": []})
    return task_id


def test_prints_tables_and_writes_a_page_and_thresholds_for_annotate(
    server, function, drawn_task, client, tmp_path
):
    page, thresholds = tmp_path / "page.html", tmp_path / "thresholds.json"
    done = run_command_text(
        *server, "evaluate", drawn_task, *function, "--page", page, "--thresholds", thresholds
    )
    assert done.returncode == 0, done.stderr
    boxes = done.stdout.partition("Boxes\n")[2].partition("\n\n")[0]
    rows = {line.split()[0]: line.split()[1:8] for line in boxes.splitlines()}
    assert rows["car"] == ["1.000", "1.000", "1.000", "2", "2", "0", "0"]
    assert rows["person"] == ["-", "-", "-", "0", "0", "0", "2"]
    assert "not evaluated: frames without manual annotations (1)" in done.stdout
    found = ["truth car", "found car 0.8", "false alarm person 0.3"]
    assert captions_of(page) == [found, found]
    assert page.read_text().count(">1 mistake<") == 2
    halfway = pytest.approx(0.55)  # between what is right and what is wrong
    assert json.loads(thresholds.read_text()) == {"car": halfway, "person": halfway}

    options = ["--label-thresholds", thresholds, "--existing", "clear"]
    assert run_command_text(*server, "annotate", drawn_task, *function, *options).returncode == 0
    assert {shape["score"] for shape in client.task_annotations(drawn_task).shapes} == {0.8}


def test_prints_metrics_of_stored_annotations_as_json(server, function, drawn_task):
    assert run_command_text(*server, "annotate", drawn_task, *function).returncode == 0
    done = run_command_text(
        *server, "evaluate", drawn_task, "--left-by-run", "--json", "--iou-threshold", "0.9"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["predictions"] == "automatic annotations"
    assert said["shapes"]["bbox"]["by_label"]["car"]["ap"] == 1
    assert said["shapes"]["bbox"]["iou_threshold"] == 0.9


def test_missing_or_unmatched_input_is_a_one_line_error(
    server, function, drawn_task, client, make_task, monkeypatch
):
    body = {"type": "ground_truth", "task_id": drawn_task, "frame_selection_method": "manual", "frames": [0]}
    job = client.json("POST", "/api/jobs", body=body)["id"]
    job_of = permissions.job_of

    def job_that_one_may_read(call, db, number):
        """CVAT may let a user see a task, and not its ground-truth job; the sandbox knows no such roles."""
        if number == job:
            raise forbidden()
        return job_of(call, db, number)

    monkeypatch.setattr(permissions, "job_of", job_that_one_may_read)
    empty = make_task(1)
    cases = [
        ([empty, *function], 1, "there is no ground truth: the manual annotations of task"),
        ([drawn_task, *function, "--truth", "ground-truth"], 1, "may not read the ground-truth job"),
        ([empty, *function, "--truth", "ground-truth"], 1, "has no ground-truth job"),
        ([drawn_task, *function, "--truth", f"task:{empty}"], 1, "there is no ground truth"),
        ([drawn_task, "--function", "nanodet_detection"], 1, "the function does not fit task"),
        ([drawn_task, "--left-by-run"], 1, "has no automatic annotations (source 'auto') on the 2 frames"),
        ([drawn_task], 2, "give a function, or --left-by-run"),
        ([drawn_task, *function, "--left-by-run"], 2, "give a function, or --left-by-run"),
        ([drawn_task, *function, "--truth", "task"], 2, "is none of manual, ground-truth and task:ID"),
        ([drawn_task, *function, "--frames", "7"], 2, "it has no frame 7"),
        ([drawn_task, *function, "--precision", "0.9"], 2, "--precision goes with --thresholds"),
    ]
    for arguments, code, message in cases:
        done = run_command_text(*server, "evaluate", *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_chooses_thresholds_for_time_and_says_what_correcting_would_take(
    server, function, drawn_task, tmp_path
):
    thresholds = tmp_path / "thresholds.json"
    options = ["--thresholds", thresholds, "--for", "time", "--draw-box", "20", "--confirm", "2"]
    done = run_command_text(*server, "evaluate", drawn_task, *function, *options)
    assert done.returncode == 0, done.stderr
    assert "time for boxes: 40 s by hand, 13 s to correct what scores 0 or more: 27 s saved" in done.stdout
    assert 0.3 < json.loads(thresholds.read_text())["car"] <= 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--for", "time"], "--for time goes with --thresholds"),
        (["--thresholds", "t.json", "--for", "time", "--precision", "0.9"], "contradict each other"),
        (["--page-frames", "5"], "--page-frames goes with --page"),
        (["--resamples", "7"], "--resamples: nothing is compared; give --against, too"),
        (["--resamples", "7", "--seed", "3"], "--resamples and --seed: nothing is compared"),
    ],
)
def test_refuses_options_that_do_not_go_together(server, function, tmp_path, options, message):
    options = [tmp_path / part if part.endswith(".json") else part for part in options]
    done = run_command_text(*server, "evaluate", 1, *function, *options)
    assert (done.returncode, message in done.stderr) == (2, True)


def test_of_a_corrected_run_says_what_it_has_saved(server, function, client, make_task, tmp_path):
    task_id = make_task(2)
    runs = {"PREFECT_CVAT_RUNS_DIR": str(tmp_path / "runs")}
    assert run_command_text(*server, "annotate", task_id, *function, **runs).returncode == 0
    [job] = client.jobs(task_id)
    wrong = client.job_annotations(job.id).shapes[1]
    client.delete_job_annotations(job.id, {"shapes": [wrong], "tags": [], "tracks": []})
    manual = {"type": "rectangle", "frame": 0, "label_id": wrong["label_id"], "points": [30, 20, 50, 40]}
    client.create_job_annotations(job.id, {"shapes": [manual | {"source": "manual"}]})
    done = run_command_text(*server, "evaluate", task_id, "--left-by-run", **runs)
    assert f"task {task_id} at " in done.stdout
    assert "saved" in done.stdout.splitlines()[-1] or "lost" in done.stdout.splitlines()[-1]
    other = client.job_annotations(job.id).shapes[2]
    client.delete_job_annotations(job.id, {"shapes": [other], "tags": [], "tracks": []})
    of_frame = run_command_text(*server, "evaluate", task_id, "--left-by-run", "--frames", "0", **runs)
    assert of_frame.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]

    (tmp_path / "runs" / "unreadable" / "record.jsonl").mkdir(parents=True)
    page = tmp_path / "page.html"
    done = run_command_text(*server, "evaluate", task_id, "--left-by-run", "--page", page, **runs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("task ")
    assert "what corrections have taken is not known: " in done.stdout.splitlines()[-1]
    assert captions_of(page)
