"""The subcommand `track`, as a process of its own."""

import json

import pytest

from clips import clip
from command_line import run_command_text as run


def test_tracks_detections_of_a_function(server, video_task, client, reading_file):
    task_id = video_task(clip(range(60, 68)))
    options = ["--step", "2", "--min-length", "1", "--tolerance", "0.5"]
    would = run(*server, "track", task_id, "--function-file", reading_file, "--dry-run", *options)
    assert would.returncode == 0, would.stderr
    assert "8 frames, 4 to annotate" in would.stdout
    done = run(*server, "track", str(task_id), "--function-file", reading_file, "--json", *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["frames"], report["tracks"], report["track_frames"]) == (4, {"car": 1}, 7)
    [job] = client.jobs(task_id)
    assert len(client.job_annotations(job.id).tracks) == 1


def test_tracks_manually_drawn_shapes(server, video_task, client):
    task_id = video_task(clip([7] * 6))
    [job], [car] = client.jobs(task_id), client.labels(task_id)
    seed = {"type": "rectangle", "frame": 2, "label_id": car.id, "source": "manual"}
    seed["points"] = [15, 0, 70, 30]
    client.create_job_annotations(job.id, {"shapes": [seed]})
    options = ["--function", "optical_flow_tracking", "--direction", "both", "--label", "car"]
    would = run(*server, "track", task_id, *options, "--dry-run")
    assert would.returncode == 0, would.stderr
    assert would.stdout.splitlines()[0].endswith(": 1 shape to track")
    assert "on frames 0-5 at most, 2 chunks to fetch" in would.stdout
    assert client.job_annotations(job.id).tracks == []
    done = run(*server, "track", task_id, *options)
    assert done.returncode == 0, done.stderr
    assert "tracks: 1 car" in done.stdout
    data = client.job_annotations(job.id)
    assert (data.shapes, [track["source"] for track in data.tracks]) == ([], ["semi-auto"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--function", "grabcut_interaction"], 1, "is not a detection function"),
        (["--function", "optical_flow_tracking", "--direction", "up"], 2, "up"),
        (
            ["--function", "nanodet_detection", "--step", "40"],
            2,
            "--max-gap 30 must not be less than --step 40",
        ),
    ],
)
def test_invalid_tracking_is_a_one_line_error(server, video_task, arguments, code, message):
    task_id = video_task(clip(range(4)))
    done = run(*server, "track", str(task_id), *arguments)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
