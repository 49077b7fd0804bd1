"""The subcommand `annotate`, as a process of its own."""

import json

import pytest

from cli.command_runs import FUNCTION
from command_line import run_command_text as run


def test_annotates_with_a_function_file_and_reports_as_json(
    server, make_task, client, function_file, tmp_path
):
    task_id = make_task(3)
    report = tmp_path / "report.json"
    done = run(
        *server, "annotate", task_id, "--function-file", function_file, "-p", "size=int:9", "--json",
        "--report", report, "--frames", "0-1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 2
    assert json.loads(report.read_text()) == json.loads(done.stdout)
    [job] = client.jobs(task_id)
    assert [shape["points"] for shape in client.job_annotations(job.id).shapes] == [[0, 0, 9, 9]] * 2


def test_the_command_of_cvat_cli_works_too(server, make_task, client, function_file):
    task_id = make_task(2)
    done = run(
        *server, "task", "auto-annotate", task_id, "--function-file", function_file, "-p", "size=int:9",
        "--clear-existing", "--conf-threshold", "0.1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(client.task_annotations(task_id).shapes) == 2


def test_the_password_may_come_from_the_environment(sandbox, make_task, function_file):
    done = run(
        "--server-host", sandbox.url, "--auth", sandbox.user, "annotate", make_task(1),
        "--function-file", function_file, PASS=sandbox.password,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 car" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["annotate", "999999", "--function", "nanodet_detection"], 1, "there is no task 999999"),
        (
            ["annotate", "1", "--function", "nanodet"],
            1,
            "there is no function 'nanodet'; there are ",
        ),
        (["annotate", "1", "--function-module", "no.such"], 1, "there is no module 'no.such'"),
        (["annotate", "1", "--function-file", "/no/such.py"], 1, "there is no file"),
        (["annotate", "1"], 2, "give one of --function"),
        (["annotate", "1", "--function", "nanodet_detection", "-p", "x=1"], 2, "'x=1' has no type"),
        (["annotate", "1", "--function", "nanodet_detection", "-p", "x=int:a"], 2, "'a' is not a int"),
        (["annotate", "1", "--function", "nanodet_detection", "-p", "bad=int:1"], 1, "does not take these"),
        (["annotate", "x"], 2, "valid integer"),
        (["annotate", "1", "--function", "nanodet_detection", "--frames", "a-b"], 2, "neither a number"),
        (["annotate", "1", "--function", "nanodet_detection", "--label-map", "{"], 2, "neither JSON"),
        (["nonsense"], 2, "No such command"),
        (["task", "ls"], 2, "No such command 'task'"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, list) else "",
)
def test_failures_are_one_clear_line(server, arguments, code, message):
    done = run(*server, *arguments)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_wrong_password_and_no_credentials(sandbox, function_file):
    done = run(
        *("--server-host", sandbox.url, "--auth", "admin:nope"),
        *("annotate", 1, "--function-file", function_file),
    )
    assert done.returncode == 1
    assert "refused to log in user 'admin'" in done.stderr
    assert "nope" not in done.stderr
    done = run("--server-host", sandbox.url, "annotate", 1, "--function-file", function_file)
    assert done.returncode == 2
    assert "no credentials" in done.stderr


def test_dry_run_prints_the_plan_and_uploads_nothing(server, make_task, client, function_file):
    task_id = make_task(5, segment_size=3)
    client._transport.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [1]})
    done = run(*server, "annotate", task_id, "--function-file", function_file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "5 frames, 4 to annotate" in done.stdout
    assert "left out, deleted: 1 frame (1)" in done.stdout
    assert "label 'car' -> 'car'" in done.stdout
    assert "tried on 1 frame: 1 annotation would be written (1 car)," in done.stdout
    assert "nothing was uploaded" in done.stdout
    assert all(not client.job_annotations(job.id).shapes for job in client.jobs(task_id))


MANY_LABELS = FUNCTION.replace(
    'labels=[label_spec("car", 1)]',
    'labels=[label_spec("car", 1), *(label_spec(f"kind {i}", i) for i in range(2, 80))]',
).replace(
    "return [rectangle(1, [0, 0, self.size, self.size], score=0.5)]",
    "return [rectangle(i, [0, 0, 5, 5]) for i in range(1, 80)]",
)


def test_label_mismatches_are_ten_lines_in_terms_of_the_command_line(server, make_task, tmp_path):
    (tmp_path / "many.py").write_text(MANY_LABELS)
    done = run(*server, "annotate", make_task(1), "--function-file", tmp_path / "many.py")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len([line for line in lines if "is not in dataset" in line]) == 10
    assert "  and 68 more" in lines
    assert lines[-1] == "Map them with --label-map, or pass --allow-unmatched-labels to drop them."
    assert len(lines) == 13
    for python in ("label_map", "allow_unmatched_labels", "=True"):
        assert python not in done.stderr


def test_dropped_labels_are_one_short_line(server, make_task, tmp_path):
    (tmp_path / "many.py").write_text(MANY_LABELS)
    arguments = [
        *(*server, "annotate", make_task(1), "--function-file", tmp_path / "many.py"),
        "--allow-unmatched-labels",
    ]
    done = run(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "kind" in line] == [
        f"78 labels are dropped: {', '.join(repr(f'kind {i}') for i in range(2, 12))} and 68 more",
        "dropped, no such label in the task:"
        f" {', '.join(f'1 kind {i}' for i in range(10, 20))}, 68 of 68 other labels",
    ]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "kind" in line] == [
        "dropped, no such label in the task: 1 kind 10, 1 kind 11, 1 kind 12, 1 kind 13, 1 kind 14, 73 of"
        " 73 other labels"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--skip-existing-iou", "0.5", "--existing", "clear"],
            "--skip-existing-iou leaves room for existing annotations, and --existing clear removes them; use"
            " --existing keep, or 'replace_auto'",
        ),
        (
            ["--skip-existing-source", "auto"],
            "--skip-existing-source says which existing annotations count for --skip-existing-iou; set that too",
        ),
        (
            ["--label-thresholds", '{"lorry": 0.5}'],
            "--label-thresholds names label 'lorry', which the function does not have",
        ),
        (
            ["--label-thresholds", '{"car": true}'],
            "--label-thresholds: that of label 'car' must be a number between 0 and 1, not True",
        ),
        (["--label-map", '{"lorry": "car"}'], "--label-map names label 'lorry', which the function"),
    ],
)
def test_messages_name_command_line_options(server, make_task, function_file, arguments, message):
    done = run(*server, "annotate", make_task(1), "--function-file", function_file, *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    for python in ("skip_existing", "existing=", "label_"):
        assert python not in done.stderr


def test_label_map_thresholds_and_skipped_frames(server, make_task, client, tmp_path):
    (tmp_path / "function.py").write_text(
        FUNCTION.replace('label_spec("car", 1)', 'label_spec("Lorry", 1), label_spec("PERSON", 2)')
        .replace("score=0.5)", "score=0.5), rectangle(2, [0, 0, 9, 9], score=0.2)")
        .replace("return [", "if context.frame_name == '0001.png': raise OSError('no')\n        return [")
    )
    (tmp_path / "map.json").write_text('{"Lorry": "car"}')
    done = run(
        *server, "annotate", make_task(3), "--function-file", tmp_path / "function.py", "--ignore-case",
        "--label-map", tmp_path / "map.json", "--label-thresholds", '{"PERSON": 0.3}',
        "--on-frame-error", "skip", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["labels"] == {"car": 2}
    assert report["below_threshold"] == 2
    assert "OSError: no" in report["frame_errors"]["1"]


HELPED = """
import helper
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

def detect(context, image):
    return [rectangle(1, [0, 0, helper.size(), 9], score=0.5)]
"""


def test_an_edited_module_next_to_the_function_is_noticed(server, make_task, client, tmp_path):
    task_id = make_task(2)
    function, helper = tmp_path / "function.py", tmp_path / "helper.py"
    function.write_text(HELPED)
    helper.write_text("def size(): return 5\n")

    def annotate(*options):
        done = run(*server, "annotate", task_id, "--function-file", function, "--json", *options)
        assert done.returncode == 0, done.stderr
        [job] = client.jobs(task_id)
        widths = {shape["points"][2] for shape in client.job_annotations(job.id).shapes}
        return json.loads(done.stdout)["frames_from_cache"], widths

    assert annotate() == (0, {5})
    assert annotate() == (2, {5})
    helper.write_text("def size(): return 5 + 6\n")
    assert annotate("--existing", "replace_auto") == (0, {11})


def test_function_that_cannot_be_cached_is_reported(server, make_task, tmp_path):
    task_id = make_task(1)
    function = tmp_path / "function.py"
    function.write_text(HELPED.replace("import helper", "").replace("helper.size()", 'eval("5")'))
    for _ in range(2):
        done = run(*server, "annotate", task_id, "--function-file", function)
        assert done.returncode == 0, done.stderr
        assert "not cached: the function holds or reaches code that is chosen only" in done.stdout
        assert "(eval in function.py, line 7)" in done.stdout
        assert "detected in an earlier run" not in done.stdout
