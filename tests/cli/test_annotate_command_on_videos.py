"""The subcommand `annotate` on videos."""

from clips import clip
from command_line import run_command_text as run


def test_a_dry_run_on_a_video(server, video_task, client, reading_file):
    task_id = video_task(clip(range(10)))
    done = run(*server, "annotate", task_id, "--function-file", reading_file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "10 frames, 10 to annotate" in done.stdout
    assert "3 chunks of up to 4 frames to fetch" in done.stdout
    assert "tried on 4 frames: 4 annotations" in done.stdout
    [job] = client.jobs(task_id)
    assert client.job_annotations(job.id).shapes == []


def test_quality_can_be_selected(server, video_task, client, reading_file):
    task_id = video_task(clip(range(6)), use_zip_chunks=True)
    arguments = [*server, "annotate", task_id, "--function-file", reading_file, "--quality", "compressed"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    [job] = client.jobs(task_id)
    assert [shape["points"][2] - 1 for shape in client.job_annotations(job.id).shapes] == list(range(6))


def test_compressed_videos_are_refused(server, video_task, reading_file):
    task_id = video_task(clip(range(4)))
    for more in ([], ["--dry-run"]):
        done = run(
            *server, "annotate", task_id, "--function-file", reading_file, "--quality", "compressed", *more
        )
        assert done.returncode == 1
        assert "in which CVAT makes large frames smaller" in done.stderr
