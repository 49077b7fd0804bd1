"""The option `--page` of the commands that run a function."""

import re

import pytest

from clips import clip
from command_line import run_command_text
from pictures import picture
from prefect_cvat.auto_annotation import label_spec
from review_pages import captions_of, content_of, frames_of

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

def detect(context, image):
    return [rectangle(1, [0, 0, 20, 20], score=0.25 + 0.25 * (context.frame_name == "0001.png"))]
"""


@pytest.fixture
def function_file(tmp_path):
    (tmp_path / "boxes.py").write_text(FUNCTION)
    return ["--function-file", tmp_path / "boxes.py", "--allow-unmatched-labels"]


def test_annotate_writes_a_page(server, function_file, make_task, tmp_path):
    page = tmp_path / "review.html"
    done = run_command_text(*server, "annotate", make_task(3), *function_file, "--page", page)
    assert done.returncode == 0, done.stderr
    assert f"drawn in {page}" in done.stderr
    assert frames_of(page) == [(0, "0000.png", 1), (2, "0002.png", 1), (1, "0001.png", 1)]
    assert captions_of(page)[2] == ["machine car 0.5"]
    text = page.read_text()
    assert "written: 3 added" in text
    assert not re.search(r'src="(?!data:)', text)


def test_tasks_have_pages_of_their_own(server, function_file, make_task, tmp_path):
    one, other = make_task(1), make_task(2)
    page = tmp_path / "review.html"
    options = [*function_file, "--page", page, "--page-frames", "1"]
    done = run_command_text(*server, "annotate", one, other, *options)
    assert done.returncode == 0, done.stderr
    assert len(frames_of(tmp_path / f"review-{one}.html")) == 1
    assert len(frames_of(tmp_path / f"review-{other}.html")) == 1
    assert not page.exists()


def test_folder_of_somebody_else_is_refused_before_the_run(
    server, function_file, make_task, client, tmp_path
):
    (tmp_path / "review_images").mkdir()
    (tmp_path / "review_images" / "000001.jpg").write_bytes(b"a photograph")
    task_id, options = make_task(1), ["--page", tmp_path / "review.html", "--page-frames", "201"]
    done = run_command_text(*server, "annotate", task_id, *function_file, *options)
    assert done.returncode == 2
    assert "review_images' is where the images of the page go" in " ".join(done.stderr.split())
    assert client.task_annotations(task_id).shapes == []


def test_folders_of_several_pages_are_checked_before_the_first_run(
    server, function_file, make_task, client, tmp_path
):
    one, other = make_task(1), make_task(1)
    options = [*function_file, "--page", tmp_path / "review.html", "--page-frames", "201"]
    for name in ("review_images", f"review-{other}_images"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000001.jpg").write_bytes(b"a photograph")
    done = run_command_text(*server, "annotate", one, other, *options)
    assert done.returncode == 2
    assert f"review-{other}_images' is where the images of the page go" in " ".join(done.stderr.split())
    assert client.task_annotations(one).shapes == []
    (tmp_path / f"review-{other}_images" / "000001.jpg").unlink()
    done = run_command_text(*server, "annotate", one, other, *options)  # review_images is not used
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"review-{other}.html").exists()


def test_page_of_a_task_of_a_project_is_checked_before_its_run(server, function_file, client, tmp_path):
    project = client.json("POST", "/api/projects", body={"name": "cars", "labels": [{"name": "car"}]})["id"]
    tasks = [client.create_task(name, [], project_id=project).id for name in ("one", "other")]
    for task_id in tasks:
        client.upload_images(task_id, {"0000.png": picture()})
    folder = tmp_path / f"review-{tasks[0]}_images"
    folder.symlink_to("nowhere")
    page = ["--page", tmp_path / "review.html", "--page-frames", "201"]
    done = run_command_text(*server, "annotate", "--project", project, *function_file, *page)
    assert done.returncode == 1
    assert f"error: task {tasks[0]}: '{folder}' is where the images" in done.stderr
    assert [len(client.task_annotations(task_id).shapes) for task_id in tasks] == [0, 1]


def test_dry_run_has_no_page(server, function_file, make_task, tmp_path):
    page = tmp_path / "review.html"
    done = run_command_text(*server, "annotate", make_task(1), *function_file, "--page", page, "--dry-run")
    assert done.returncode == 2
    assert "--page goes without --dry-run" in " ".join(done.stderr.split())


def test_run_is_done_where_its_page_fails(server, make_task, client, tmp_path, function_file):
    task_id, folder = make_task(1), tmp_path / "pages"
    folder.mkdir()
    code = FUNCTION.replace(
        "    return", f"    import shutil; shutil.rmtree({str(folder)!r}, True)\n    return"
    )
    (tmp_path / "boxes.py").write_text(code)
    done = run_command_text(*server, "annotate", task_id, *function_file, "--page", folder / "page.html")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert f"the run on task {task_id} is done; only its page" in done.stderr
    assert "to undo it" in done.stdout
    assert len(client.task_annotations(task_id).shapes) == 1


def test_run_with_nothing_to_do_has_a_page_that_says_so(server, function_file, make_task, tmp_path):
    task_id, page = make_task(1), tmp_path / "review.html"
    assert run_command_text(*server, "annotate", task_id, *function_file).returncode == 0
    again = ["--frames", "unannotated", "--page", page]
    done = run_command_text(*server, "annotate", task_id, *function_file, *again)
    assert done.returncode == 0, done.stderr
    assert frames_of(page) == []
    assert "nothing to do: " in page.read_text()


def test_track_writes_a_page(server, video_task, reading_file, tmp_path):
    page = tmp_path / "review.html"
    done = run_command_text(
        *server, "track", video_task(clip(range(12))), "--function-file", reading_file,
        "--allow-unmatched-labels", "--page", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(frames_of(page)) == 12
    assert all(caption.endswith("#1") for frame in captions_of(page) for caption in frame)


def test_refine_writes_a_page(server, client, tmp_path):
    task = client.create_task("a cup", [label_spec("cup", None)])
    client.upload_images(task.id, {"0.png": picture()})
    box = {
        "type": "rectangle",
        "frame": 0,
        "label_id": client.labels(task.id)[0].id,
        "points": [4, 4, 28, 28],
    }
    client.create_job_annotations(client.jobs(task.id)[0].id, {"shapes": [box | {"source": "manual"}]})
    page = tmp_path / "review.html"
    options = ["--function", "grabcut_interaction", "--to", "mask", "--page", page]
    done = run_command_text(*server, "refine", task.id, *options)
    assert done.returncode == 0, done.stderr
    [frame] = content_of(page)["frames"]
    assert frame["corrections"] is None
    assert frame["shapes"]
