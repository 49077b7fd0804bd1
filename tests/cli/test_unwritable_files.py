"""Files that commands cannot write."""

import json

import pytest

from cli.command_runs import ALLOW, BOXES, run


def unwritable(tmp_path):
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    return [
        (tmp_path / "no" / "such" / "report", "there is no folder"),
        (tmp_path / "a file" / "report", "is not a folder"),
        (tmp_path / "a folder", "it is a folder"),
        ("/proc/report", "cannot be written"),
    ]


@pytest.mark.parametrize("place", range(4), ids=["no folder", "in a file", "a folder", "not writable"])
@pytest.mark.parametrize(
    "words",
    [
        ["annotate", "TASK", "--report", "FILE"],
        ["track", "TASK", "--report", "FILE"],
        ["refine", "TASK", "--report", "FILE"],
        ["export", "TASK", "--to", "FOLDER", "--report", "FILE"],
        ["annotate", "TASK", "--page", "FILE"],
        ["evaluate", "TASK", "--page", "FILE"],
        ["evaluate", "TASK", "--thresholds", "FILE"],
        ["preview", "--task", "TASK", "-o", "FILE"],
        ["demo", "--page", "FILE"],
    ],
    ids=" ".join,
)
def test_unwritable_file_is_reported_before_the_run(tmp_path, words, place):
    file, why = unwritable(tmp_path)[place]
    meant = {"TASK": 1, "FILE": file, "FOLDER": tmp_path / "dataset"}
    # no server is needed to say so, and no function
    chosen = [] if "demo" in words else ["--function-file", "/no/such/function.py"]
    host = ["--server-host", "http://127.0.0.1:1", "--auth", "a:b"]
    done = run(*host, *(meant.get(word, word) for word in words), *chosen, timeout=60)
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.decode().split())
    assert why in said
    assert str(file) in said
    assert not (tmp_path / "dataset").exists()


def test_existing_file_is_not_changed_by_the_check(server, make_task, function, tmp_path):
    report = tmp_path / "report.json"
    report.write_text("of before")
    done = run(*server, "annotate", 999_999, *function(BOXES), "--report", report)
    assert done.returncode == 1
    assert report.read_text() == "of before"
    new = tmp_path / "new.json"
    done = run(*server, "annotate", 999_999, *function(BOXES), "--report", new)
    assert done.returncode == 1
    assert not new.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")] == []


def test_folder_deleted_during_the_run_does_not_hide_the_result(
    server, make_task, client, tmp_path, function
):
    folder = tmp_path / "reports"
    folder.mkdir()
    removes = BOXES.replace(
        "    return [", f"    import shutil; shutil.rmtree({str(folder)!r}, True)\n    return ["
    )
    task_id = make_task(1)
    done = run(*server, "annotate", task_id, *function(removes), ALLOW, "--report", folder / "report.json")
    assert done.returncode == 1
    assert b"1 car" in done.stdout
    assert b"to undo it: prefect-cvat" in done.stdout
    assert b"report.json" in done.stderr
    assert b"Traceback" not in done.stderr


def test_export_report_may_be_in_the_export_folder(server, make_task, function, tmp_path):
    folder = tmp_path / "dataset"
    done = run(
        *server, "export", make_task(1), *function(BOXES), ALLOW, "--to", folder,
        "--report", folder / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "report.json").read_text())["frames"] == 1
