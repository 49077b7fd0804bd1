"""The subcommand `preview`, as a process of its own."""

from clips import clip
from command_line import run_command_text as run
from review_pages import captions_of, frames_of


def test_previews_image_files_and_frames_of_a_task(server, make_task, client, function_file, tmp_path):
    from pictures import picture

    (tmp_path / "a.png").write_bytes(picture())
    page = tmp_path / "page.html"
    options = ["--function-file", function_file, "-o", page]
    done = run("preview", tmp_path / "a.png", *options)
    assert done.returncode == 0, done.stderr
    assert "1 car" in done.stdout
    assert captions_of(page) == [["machine car 0.5"]]
    assert "Task 0" not in page.read_text()
    assert "added" not in page.read_text()

    task_id = make_task(3)
    done = run(*server, "preview", "--task", task_id, "--frames", "0,2", *options)
    assert done.returncode == 0, done.stderr
    assert [number for number, _, _ in frames_of(page)] == [0, 2]
    assert all(not client.job_annotations(job.id).shapes for job in client.jobs(task_id))

    for size, shown in ((3, 3), (4, 4), (7, 4)):  # without --frames
        done = run(*server, "preview", "--task", make_task(size), *options)
        assert done.returncode == 0, done.stderr
        assert len(frames_of(page)) == shown

    (tmp_path / "b.png").write_bytes(b"broken")
    done = run("preview", tmp_path / "a.png", tmp_path / "b.png", *options)
    assert done.returncode == 1
    assert f"{str(tmp_path / 'b.png')!r} is not an image" in done.stderr


def test_a_preview_of_frames_of_a_video(server, video_task, reading_file, tmp_path):
    page = tmp_path / "page.html"
    done = run(
        *server, "preview", "--task", video_task(clip(range(10))), "--frames", "1,7-8",
        "--function-file", reading_file, "-o", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [(number, count) for number, _, count in frames_of(page)] == [(1, 1), (7, 1), (8, 1)]


def test_batch_size_goes_to_the_function(tmp_path):
    from pictures import picture

    (tmp_path / "a.png").write_bytes(picture())
    batched, other = tmp_path / "batched.py", tmp_path / "other.py"
    batched.write_text(
        "from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, tag\n"
        "class Function:\n"
        "    spec = DetectionFunctionSpec(labels=[label_spec(str(n), n, type='tag') for n in range(9)])\n"
        "    def __init__(self, batch_size=1): self.batch_size = batch_size\n"
        "    def detect_batch(self, contexts, images): return [[tag(self.batch_size)] for _ in images]\n"
        "create = Function\n"
    )
    other.write_text(batched.read_text().replace("batch_size=1", "size=1").replace("= batch_size", "= size"))
    page = tmp_path / "page.html"
    options = [tmp_path / "a.png", "--batch-size", 7, "-o", page]
    done = run("preview", *options, "--function-file", batched)
    assert done.returncode == 0, done.stderr
    assert "1 7" in done.stdout
    done = run("preview", *options, "--function-file", other)
    assert done.returncode == 1
    assert (
        f"function {str(other)!r} takes no --batch-size; its create is called as create(size=1)"
        in done.stderr
    )


def test_a_preview_of_folders_and_of_selected_images(function_file, tmp_path):
    from pictures import picture

    folder, page = tmp_path / "photos", tmp_path / "page.html"
    folder.mkdir()
    for name in ("b.png", "a.PNG", "notes.txt"):
        (folder / name).write_bytes(picture())
    options = ["--function-file", function_file, "-o", page]
    done = run("preview", folder, folder / "b.png", *options)
    assert done.returncode == 0, done.stderr
    assert frames_of(page) == [(0, "a.PNG", 1), (1, "b.png", 1), (2, "b.png", 1)]
    done = run("preview", folder, "--frames", "1", *options)
    assert frames_of(page) == [(1, "b.png", 1)]
    done = run("preview", folder, "--frames", "1-2", *options)
    assert (done.returncode, "--frames has 2, but the images are 0-1" in done.stderr) == (2, True), (
        done.stderr
    )

    (folder / "a.PNG").unlink()
    (folder / "b.png").unlink()
    done = run("preview", folder, *options)
    assert (done.returncode, "has no images (.bmp, " in done.stderr) == (1, True), done.stderr

    for number in range(101):
        (folder / f"{number:03}.png").write_bytes(picture(8, 8))
    done = run("preview", folder, *options)
    assert "the first 100 of 101 images are shown" in done.stderr
    assert len(frames_of(page)) == 100


def test_a_preview_of_a_video_file(reading_file, tmp_path):
    video, page = tmp_path / "drive.MP4", tmp_path / "page.html"
    video.write_bytes(clip(range(10)))
    options = ["--function-file", reading_file, "-o", page]
    done = run("preview", video, *options)
    assert done.returncode == 0, done.stderr
    assert frames_of(page) == [(n, f"drive.MP4, frame {n}", 1) for n in range(4)]
    done = run("preview", video, "--frames", "7,9,2", *options)
    assert done.returncode == 0, done.stderr
    assert frames_of(page) == [(n, f"drive.MP4, frame {n}", 1) for n in (2, 7, 9)]

    for arguments, code, message in (
        ([video, "--frames", "9-11"], 1, "has 10 frames, and no frame 11"),
        ([video, video], 2, "give images and folders of images, or one video"),
        ([video, "--frames", "unannotated"], 2, "--frames unannotated goes with --task"),
        ([tmp_path / "none.mp4"], 1, "none.mp4' cannot be decoded: No such file"),
    ):
        done = run("preview", *arguments, *options)
        assert (done.returncode, message in " ".join(done.stderr.split())) == (code, True), done.stderr
    (tmp_path / "broken.mp4").write_bytes(b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n")
    done = run("preview", tmp_path / "broken.mp4", *options)
    assert (done.returncode, "broken.mp4' cannot be decoded: Invalid data" in done.stderr) == (1, True)

    short = tmp_path / "short.mp4"
    short.write_bytes(clip(range(2), turned=True))
    done = run("preview", short, *options)
    assert done.returncode == 0, done.stderr
    assert frames_of(page) == [(n, f"short.mp4, frame {n}", 1) for n in range(2)]
