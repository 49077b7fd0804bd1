"""Dry runs."""

import json

import pytest

from cli.command_runs import ALLOW, BOXES, CUTS, FAILS, draw_a_car, run, shapes


def test_dry_run_counts_annotations(server, make_task, client, function):
    task_id = make_task(4, chunk_size=4)
    options = [*server, "annotate", task_id, *function(BOXES), ALLOW]
    would = run(*options, "--dry-run")
    assert would.returncode == 0, would.stderr
    out = would.stdout.decode()
    assert "tried on 4 frames: 4 annotations would be written" in out
    assert "dropped, no such label in the task: 4 cat" in out
    done = run(*options, "--json")
    assert json.loads(done.stdout)["added"] == 4


@pytest.mark.parametrize(
    ("more", "written", "why"),
    [
        (["--label-map", '{"cat": "person"}'], {"car": 4, "person": 4}, {}),
        (["--label-map", '{"cat": "person"}', "--label-thresholds", '{"car": 0.6}'],
         {"person": 4}, {"below_threshold": 4}),
        (["--label-map", '{"cat": "person"}', "--skip-existing-iou", "0.6"],
         {"car": 3, "person": 4}, {"overlapping_existing": 1}),
    ],
    ids=["mapped", "threshold", "existing"],
)  # fmt: skip
def test_dry_run_skips_the_same_annotations_as_a_run(server, make_task, client, function, more, written, why):
    task_id = make_task(4, chunk_size=4)
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    drawn = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [0, 0, 9, 9], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    options = [*server, "annotate", task_id, *function(BOXES), *more, "--json"]
    would = run(*options, "--dry-run")
    assert would.returncode == 0, would.stderr
    trial = json.loads(would.stdout)["trial"]
    assert trial["labels"] == written
    assert {name: trial[name] for name in why} == why
    assert len(shapes(client, task_id)) == 1
    done = run(*options)
    assert json.loads(done.stdout)["labels"] == written


def test_a_dry_run_as_json_is_the_plan(server, make_task, client, function):
    task_id = make_task(5, segment_size=3)
    client.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [1]})
    done = run(*server, "annotate", task_id, *function(BOXES), ALLOW, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["task_id"], plan["size"], plan["frames"]) == (task_id, 5, 4)
    assert plan["jobs"] == [job.id for job in client.jobs(task_id)]
    assert plan["left_out"] == {"deleted": 1}
    assert plan["labels"] == {"car": "car", "cat": None}
    assert (plan["trial"]["frames"], plan["trial"]["labels"]) == (1, {"car": 1})
    assert plan["trial"]["unmatched"] == {"cat": 1}
    assert shapes(client, task_id) == []


def test_dry_run_reports_a_failing_function(server, make_task, function):
    task_id = make_task(2)
    done = run(*server, "annotate", task_id, *function(FAILS), ALLOW, "--dry-run", "--on-frame-error", "skip")
    assert done.returncode == 0, done.stderr
    assert b"frame 0 failed: " in done.stdout
    assert b"ZeroDivisionError: told to" in done.stdout


def test_dry_runs_of_tracking_and_refining_as_json(server, video_task, make_task, client, function):
    task_id = make_task(3)
    job = draw_a_car(client, task_id)
    done = run(*server, "refine", task_id, *function(CUTS), "--dry-run", "--json", "--to", "polygon")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["task_id"], plan["shapes"], plan["to"], plan["jobs"]) == (
        task_id,
        {"car": 1},
        "polygon",
        [job.id],
    )

    done = run(*server, "track", task_id, *function(BOXES), ALLOW, "--dry-run", "--json", "--step", "2")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["frames"], plan["labels"]) == (2, {"car": "car", "cat": None})

    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    done = run(*server, "track", task_id, "--function", "optical_flow_tracking", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["shapes"], plan["first_frame"], plan["last_frame"]) == ({"car": 1}, 1, 2)
