"""The command line, as a process of its own."""

import json
import pathlib
import re

import pytest

from clips import clip
from command_line import run_command

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def __init__(self, size: int = 5) -> None:
        self.size = size
    def detect(self, context, image):
        return [rectangle(1, [0, 0, self.size, self.size], score=0.5)]

create = Boxes
"""


def run(*arguments, **environment):
    done = run_command(*arguments, **environment)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture
def function_file(tmp_path):
    path = tmp_path / "boxes.py"
    path.write_text(FUNCTION)
    return path


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


def test_lists_functions_and_prints_the_version():
    assert "nanodet_detection" in run("functions", "list").stdout.split()
    assert run("--version").stdout.startswith("prefect-cvat ")


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
def test_messages_speak_of_options(server, make_task, function_file, arguments, message):
    done = run(*server, "annotate", make_task(1), "--function-file", function_file, *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    for python in ("skip_existing", "existing=", "label_"):
        assert python not in done.stderr


@pytest.mark.parametrize("where", ["before", "after", "at the end"])
def test_debug_is_taken_before_the_subcommand_and_after_it(where):
    arguments = {
        "before": ["--debug", "functions", "show", "nosuch"],
        "after": ["functions", "--debug", "show", "nosuch"],
        "at the end": ["functions", "show", "nosuch", "--debug"],
    }
    done = run(*arguments[where])
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "there is no function 'nosuch'" in done.stderr
    assert "Traceback" not in run("functions", "show", "nosuch").stderr


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


def test_previews_image_files_and_frames_of_a_task(server, make_task, client, function_file, tmp_path):
    from pictures import picture

    (tmp_path / "a.png").write_bytes(picture())
    page = tmp_path / "page.html"
    options = ["--function-file", function_file, "-o", page]
    done = run("preview", tmp_path / "a.png", *options)
    assert done.returncode == 0, done.stderr
    assert "1 car" in done.stdout
    assert ">car 0.50<" in page.read_text()

    task_id = make_task(3)
    done = run(*server, "preview", "--task", task_id, "--frames", "0,2", *options)
    assert done.returncode == 0, done.stderr
    assert page.read_text().count("<figure>") == 2
    assert all(not client.job_annotations(job.id).shapes for job in client.jobs(task_id))

    for size, shown in ((3, 3), (4, 4), (7, 4)):  # without --frames
        done = run(*server, "preview", "--task", make_task(size), *options)
        assert done.returncode == 0, done.stderr
        assert page.read_text().count("<figure>") == shown

    (tmp_path / "b.png").write_bytes(b"broken")
    done = run("preview", tmp_path / "a.png", tmp_path / "b.png", *options)
    assert done.returncode == 1
    assert f"{str(tmp_path / 'b.png')!r} is not an image" in done.stderr


def test_shows_the_labels_of_a_function():
    lines = run("functions", "show", "nanodet_detection").stdout.splitlines()
    assert lines[0].split() == ["0", "person", "(rectangle)"]
    assert len(lines) == 80


def test_shows_prompts_and_tracked_shape_types_of_a_function(tmp_path):
    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    assert run("functions", "show", "grabcut_interaction").stdout.splitlines() == [
        "points on the object: taken",
        "points that are not on it: taken",
        "box around it: taken",
    ]
    done = run("functions", "show", "optical_flow_tracking")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("follows shapes of type ")
    assert "rectangle" in done.stdout


# --- refining ---


CUTS = """
from prefect_cvat.auto_annotation import InteractionFunctionSpec, InteractionResultShape

class Cuts:
    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)
    def detect(self, context, image, prompts):
        (x1, y1), (x2, y2) = prompts.bounding_box
        return [InteractionResultShape(type="polygon", points=[x1, y1, x2, y1, x2, y2])]

create = Cuts
"""


@pytest.fixture
def cutting_file(tmp_path):
    path = tmp_path / "cuts.py"
    path.write_text(CUTS)
    return path


@pytest.fixture
def boxes(client, make_task):
    """A task with a box of a car by hand, one by a machine, and one of a person."""
    task_id = make_task(5)
    [job] = client.jobs(task_id)
    car, person = client.labels(task_id)
    shape = {"type": "rectangle", "points": [5, 5, 20, 20], "label_id": car.id, "source": "manual"}
    more = [{**shape, "frame": 0}, {**shape, "frame": 2, "source": "auto"}]
    client.create_job_annotations(job.id, {"shapes": [*more, {**shape, "frame": 4, "label_id": person.id}]})
    return task_id


def types_by_frame(client, task_id):
    [job] = client.jobs(task_id)
    return {shape["frame"]: shape["type"] for shape in client.job_annotations(job.id).shapes}


def test_refines_selected_shapes(server, boxes, client, cutting_file, tmp_path):
    done = run(
        *server, "refine", boxes, "--function-file", cutting_file, "--label", "car", "--label", "person",
        "--source", "manual", "--shape-type", "rectangle", "--to", "polygon", "--frames", "0-3", "--json",
        "--report", tmp_path / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["refined"], report["removed"], report["labels"]) == (1, 1, {"car": 1})
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert types_by_frame(client, boxes) == {0: "polygon", 2: "rectangle", 4: "rectangle"}

    done = run(*server, "refine", boxes, "--function-file", cutting_file)
    assert done.returncode == 0, done.stderr
    assert "refined: 2 shapes" in done.stdout
    assert types_by_frame(client, boxes) == {0: "polygon", 2: "mask", 4: "mask"}


def test_dry_run_prints_shapes_to_refine_and_writes_nothing(server, boxes, client, cutting_file):
    arguments = [*server, "refine", boxes, "--function-file", cutting_file, "--keep-originals"]
    done = run(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    [job] = client.jobs(boxes)
    assert done.stdout.splitlines() == [
        f"task {boxes} ('a task'): 3 shapes (2 car, 1 person) on 3 frames to refine",
        "each becomes a mask; the originals stay",
        "3 chunks of up to 2 frames to fetch",
        f"1 job to write: {job.id}",
        "nothing was uploaded",
    ]
    assert set(types_by_frame(client, boxes).values()) == {"rectangle"}
    assert run(*arguments).returncode == 0
    assert len(client.job_annotations(job.id).shapes) == 6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "Cars"], 2, "has no label 'Cars'; did you mean 'car'?"),
        (["--shape-type", "mask"], 2, "'mask' is not one of"),
        (["--to", "rectangle"], 2, "'rectangle' is not one of"),
        (["--function", "nanodet_detection"], 2, "give one of --function"),
    ],
)
def test_invalid_refinement_is_a_one_line_error(server, boxes, cutting_file, arguments, code, message):
    done = run(*server, "refine", boxes, "--function-file", cutting_file, *arguments)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


# --- video ---


READS_NUMBERS = """
from clips import reader
spec, detect = reader().spec, reader().detect
"""


@pytest.fixture
def reading_file(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
    path = tmp_path / "reads_numbers.py"
    path.write_text(READS_NUMBERS)
    return path


def test_a_dry_run_on_a_video(server, video_task, client, reading_file):
    task_id = video_task(clip(range(10)))
    done = run(*server, "annotate", task_id, "--function-file", reading_file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "10 frames, 10 to annotate" in done.stdout
    assert "3 chunks of up to 4 frames to fetch" in done.stdout
    assert "tried on 4 frames: 4 annotations" in done.stdout
    [job] = client.jobs(task_id)
    assert client.job_annotations(job.id).shapes == []


def test_a_preview_of_frames_of_a_video(server, video_task, reading_file, tmp_path):
    page = tmp_path / "page.html"
    done = run(
        *server, "preview", "--task", video_task(clip(range(10))), "--frames", "1,7-8",
        "--function-file", reading_file, "-o", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    captions = re.findall(r"<figcaption>(frame \d) .*?(\d) shape", page.read_text())
    assert captions == [("frame 1", "1"), ("frame 7", "1"), ("frame 8", "1")]


def test_the_quality_may_be_chosen(server, video_task, client, reading_file):
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


# --- tracks ---


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


@pytest.mark.parametrize("command", ["annotate", "track", "refine", "preview", "setup", "sandbox", "demo"])
def test_the_help_shows_an_example_on_lines_of_its_own(command):
    done = run(command, "--help")
    assert re.search(r"^  Example:$", done.stdout, re.MULTILINE)
    assert r"\b" not in done.stdout


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
