"""Invalid functions: each error is one line with the place in the function's code."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from command_line import run_command_text
from prefect_cvat import annotate_task, refine_task, track_task
from prefect_cvat.auto_annotation import BadFunctionError, label_spec, text_attribute_spec
from prefect_cvat.auto_annotation.loading import load_function_file
from prefect_cvat.exceptions import FunctionLoadError

HEAD = """
import os, sys
import numpy as np
from prefect_cvat.auto_annotation import *
from prefect_cvat import models
spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
"""


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture
def write(tmp_path):
    def write_function(source, head=HEAD):
        path = tmp_path / "strange.py"
        path.write_text(head + textwrap.dedent(source))
        return path

    return write_function


def line_of(path, text):
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


DETECTION = {
    "sys.exit": ("def detect(c, i):\n    sys.exit(3)", "SystemExit: 3", "sys.exit(3)"),
    "raise SystemExit": ("def detect(c, i):\n    raise SystemExit", "SystemExit", "raise SystemExit"),
    "KeyboardInterrupt": (
        "def detect(c, i):\n    raise KeyboardInterrupt('enough')",
        "KeyboardInterrupt: enough",
        "raise",
    ),
    "an exception of its own": (
        "class Stop(BaseException): ...\ndef detect(c, i):\n    raise Stop('enough')",
        "Stop: enough",
        "raise",
    ),
    "GeneratorExit": ("def detect(c, i):\n    raise GeneratorExit", "GeneratorExit", "raise"),
    "a generator that fails": (
        "def detect(c, i):\n    yield rectangle(1, [0, 0, 5, 5])\n    1 / 0",
        "ZeroDivisionError: division by zero",
        "1 / 0",
    ),
    "deep in a library": (
        "def detect(c, i):\n    return np.zeros((2, 2)) @ np.zeros(3)",
        "ValueError: matmul",
        "np.zeros((2",
    ),
    "too few arguments": ("def detect(image):\n    return []", "TypeError: detect() takes 1", "def detect"),
    "a batch that fails": (
        "def detect_batch(c, i):\n    for each in i:\n        yield [1 / 0]",
        "ZeroDivisionError: division by zero",
        "1 / 0",
    ),
    "a mask as pixels": (
        "def detect(c, i):\n    return [mask(1, np.ones((3000, 4000), bool))]",
        "prefect_cvat.masks.encode_mask(array)",
        "return [mask",
    ),
    "a message of 13 MB": (
        "def detect(c, i):\n    raise ValueError('\\x1b[31m' + 'x' * 13_000_000)",
        r"ValueError: \x1b[31mxxx",
        "raise",
    ),
}


@pytest.mark.parametrize("case", DETECTION)
def test_error_of_a_detection_function_is_reported_with_its_line(client, make_task, write, case):
    source, message, line = DETECTION[case]
    path = write(source)
    task_id = make_task(3)
    with pytest.raises(BadFunctionError) as error:
        annotate_task(client, task_id, load_function_file(path), use_cache=False)
    text = str(error.value)
    assert message in text
    assert f"{path}, line {line_of(path, line)}" in text
    assert "frame 0 (0000.png)" in text
    assert "\n" not in text
    assert len(text) <= 1000
    [job] = client.jobs(task_id)
    assert not client.job_annotations(job.id).shapes


NO_RESULTS = {
    "nothing": ("return None", "'NoneType'"),
    "one shape": ("return rectangle(1, [0, 0, 5, 5])", "'LabeledShapeRequest'"),
    "a dict": ("return {'boxes': []}", "'dict'"),
    "text": ("return 'none'", "'str'"),
    "a number": ("return 3", "'int'"),
}


@pytest.mark.parametrize("case", NO_RESULTS)
def test_invalid_output_type_is_named(client, make_task, write, case):
    source, name = NO_RESULTS[case]
    function = load_function_file(write(f"def detect(c, i):\n    {source}"))
    with pytest.raises(BadFunctionError, match=rf"frame 0 .* of type {name} \(expected a sequence of tags"):
        annotate_task(client, make_task(1), function)


def test_a_coroutine_is_named(client, make_task, write):
    function = load_function_file(write("async def detect(c, i):\n    return []"))
    with pytest.raises(BadFunctionError, match="type 'coroutine'"):
        annotate_task(client, make_task(1), function)


def test_endless_results_are_refused(client, make_task, write):
    function = load_function_file(write("def detect(c, i):\n    while True:\n        yield tag(1)"))
    with pytest.raises(BadFunctionError, match="more than 100,000 results for an image"):
        annotate_task(client, make_task(1), function)


def test_results_may_be_a_generator(client, make_task, write):
    function = load_function_file(
        write("def detect(c, i):\n    yield rectangle(1, [0, 0, 5, 5])\n    yield rectangle(1, [0, 0, 6, 6])")
    )
    assert annotate_task(client, make_task(2), function).added == 4


def test_function_is_not_called_after_a_contract_error(client, make_task, write, tmp_path):
    calls = tmp_path / "calls"
    function = load_function_file(
        write(f"def detect(c, i):\n    os.system('printf x >> {calls}')\n    raise ValueError")
    )
    with pytest.raises(BadFunctionError, match="frame 0"):
        annotate_task(client, make_task(8), function, frames_per_batch=1)
    assert calls.read_text() == "x"


SPECS = {
    "no labels": ("class F:\n    spec = DetectionFunctionSpec(labels=[])\n    def detect(self, c, i): ...", "has no labels", "class F"),
    "None for labels": ("class F:\n    class spec: labels = None\n    def detect(self, c, i): ...", "not a detection function", "class F"),
    "names for labels": ("class F:\n    class spec: labels = ['car']\n    def detect(self, c, i): ...", "of type 'str'; make labels with label_spec", "class F"),
    "a spec that raises": (
        "class F:\n    @property\n    def spec(self):\n        return self.missing\n    def detect(self, c, i): ...",
        "AttributeError: 'F' object has no attribute 'missing'",
        "self.missing",
    ),
    "a spec that exits": ("class F:\n    @property\n    def spec(self):\n        sys.exit()\n    def detect(self, c, i): ...", "SystemExit", "sys.exit()"),
    "no detect": ("class F:\n    spec = spec", "has no 'detect'", "class F"),
    "a batch size that is none": (
        "class F:\n    spec = spec\n    batch_size = 'many'\n    def detect_batch(self, c, i): ...",
        "batch_size of 'F' is of type 'str'",
        "class F",
    ),
    "a version that raises": (
        "class F:\n    spec = spec\n    @property\n    def version(self):\n        return 1 / 0\n    def detect(self, c, i): ...",
        "the version of 'F' cannot be read: ZeroDivisionError",
        "1 / 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPECS)
def test_invalid_function_is_reported_with_its_line(client, make_task, write, case):
    source, message, line = SPECS[case]
    path = write(f"{source}\ncreate = F")
    with pytest.raises(BadFunctionError) as error:
        annotate_task(client, make_task(1), load_function_file(path))
    assert message in str(error.value)
    assert f"{path}, line {line_of(path, line)}" in str(error.value)


@pytest.mark.parametrize("use", [annotate_task, refine_task, track_task])
def test_a_class_instead_of_an_object_is_refused(client, make_task, write, use):
    path = write("class F:\n    spec = spec\n    def detect(self, c, i): ...\ndef create(): return F")
    task_id = make_task(1)
    with pytest.raises(BadFunctionError, match=rf"'F' is not .* but a class \({path}, line 7\)"):
        load_function_file(path)
    with pytest.raises(BadFunctionError, match=r"give an object of it: F\(...\)"):
        use(client, task_id, _module_of(path).F)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sys.exit('no GPU')", r"cannot be run: SystemExit: no GPU \(.*strange.py, line 7, in <module>\)"),
        (
            "def create():\n    sys.exit(2)",
            r"cannot be made: SystemExit: 2 \(.*strange.py, line 8, in create\)",
        ),
        (
            "def create():\n    raise OSError('x' * 10**7)",
            r"cannot be made: OSError: xxx.*strange.py, line 8",
        ),
        ("def f(:", r"cannot be run: SyntaxError: .*strange.py, line 7"),
    ],
)
def test_load_error_is_reported_with_its_line(write, source, message):
    with pytest.raises(FunctionLoadError, match=message) as error:
        load_function_file(write(source))
    assert len(str(error.value)) <= 1000


def test_syntax_error_in_an_imported_module_is_reported_with_its_file(write):
    path = write("import broken_neighbour\nversion = '1'")
    neighbour = path.with_name("broken_neighbour.py")
    neighbour.write_text("x = 1\ndef f(:\n")
    with pytest.raises(FunctionLoadError) as error:
        load_function_file(path)
    assert str(error.value).endswith(f"({neighbour}, line 2)")


TRACKING = """
spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})
def preprocess_image(context, image):
    PREPROCESS
    return image
def init_tracking_state(context, image, shape):
    INIT
    return shape
def track(context, image, state):
    TRACK
    return state
"""


@pytest.mark.parametrize("place", ["PREPROCESS", "INIT", "TRACK"])
@pytest.mark.parametrize("what", ["sys.exit(4)", "raise KeyboardInterrupt", "raise ValueError('x' * 10**7)"])
def test_error_of_a_tracking_function_is_reported_with_its_line(client, make_task, write, place, what):
    task_id = make_task(3)
    [job] = client.jobs(task_id)
    [label, *_] = client.labels(task_id)
    shape = {"type": "rectangle", "label_id": label.id, "frame": 0, "points": [1, 1, 20, 20]}
    client.create_job_annotations(job.id, {"tags": [], "shapes": [shape], "tracks": []})
    source = TRACKING.replace(place, what)
    for other in ("PREPROCESS", "INIT", "TRACK"):
        source = source.replace(other, "pass")
    path = write(source)
    with pytest.raises(BadFunctionError) as error:
        track_task(client, task_id, load_function_file(path))
    assert f"{path}, line {line_of(path, what)}" in str(error.value)
    assert len(str(error.value)) <= 1000


def test_unreadable_tracked_shape_is_reported_with_its_line(client, make_task, write):
    task_id = make_task(3)
    [job] = client.jobs(task_id)
    [label, *_] = client.labels(task_id)
    shape = {"type": "rectangle", "label_id": label.id, "frame": 0, "points": [1, 1, 20, 20]}
    client.create_job_annotations(job.id, {"tags": [], "shapes": [shape], "tracks": []})
    source = TRACKING.replace("return state", "return type('Rude', (), {'__getattr__': lambda *_: 1 / 0})()")
    for place in ("PREPROCESS", "INIT", "TRACK"):
        source = source.replace(place, "pass")
    path = write(source)
    with pytest.raises(BadFunctionError, match="division by zero") as error:
        track_task(client, task_id, load_function_file(path))
    assert f"{path}, line {line_of(path, 'Rude')}" in str(error.value)


@pytest.mark.parametrize(
    "what", ["sys.exit(4)", "raise KeyboardInterrupt", "yield 1 / 0", "raise ValueError('x' * 10**7)"]
)
def test_error_of_an_interaction_function_is_reported_with_its_line(client, make_task, write, what):
    task_id = make_task(1)
    [job] = client.jobs(task_id)
    [label, *_] = client.labels(task_id)
    shape = {"type": "rectangle", "label_id": label.id, "frame": 0, "points": [1, 1, 20, 20]}
    client.create_job_annotations(job.id, {"tags": [], "shapes": [shape], "tracks": []})
    path = write(
        "spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)\n"
        f"def detect(context, image, prompts):\n    {what}\n"
    )
    with pytest.raises(BadFunctionError) as error:
        refine_task(client, task_id, load_function_file(path))
    assert f"{path}, line {line_of(path, what)}" in str(error.value)
    assert len(str(error.value)) <= 1000


def test_error_about_a_pixel_mask_is_one_line_on_the_terminal(server, make_task, write):
    path = write(DETECTION["a mask as pixels"][0])
    done = run_command_text(*server, "annotate", make_task(2), "--function-file", path, "--no-cache")
    assert done.returncode == 1
    assert len(done.stdout + done.stderr) < 1100
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "encode_mask" in line
    assert f"{path}, line 8" in line


def test_output_of_a_function_does_not_corrupt_the_json(server, make_task, write):
    path = write(
        """
        print("loaded")
        def detect(c, i):
            print("detected", c.frame_name)
            os.system("echo by another program")
            os.write(1, b"by a library\\n")
            return []
        """
    )
    done = run_command_text(*server, "annotate", make_task(1), "--function-file", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 1
    for text in ("loaded", "detected 0000.png", "by another program", "by a library"):
        assert text in done.stderr
    plain = run_command_text(*server, "annotate", make_task(1), "--function-file", path)
    assert "detected 0000.png" in plain.stdout


def test_function_that_changes_the_current_folder_does_not_move_output_files(
    server, make_task, write, tmp_path
):
    path = write(
        """
        def detect(c, i):
            os.makedirs("elsewhere", exist_ok=True)
            os.chdir("elsewhere")
            os.rmdir(os.getcwd()) if c.frame_name == "0003.png" else None
            return [rectangle(1, [0, 0, 5, 5], score=0.5)]
        """
    )
    task_id = make_task(4)
    # folders are relative to where a process starts: it is not forked
    start = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    relative = {"PREFECT_CVAT_CACHE_DIR": "cache", "PREFECT_CVAT_RUNS_DIR": "runs"}
    command = [sys.executable, "-m", "prefect_cvat", *server, "annotate", str(task_id), "--json"]
    command += ["--function-file", "strange.py", "--report", "report.json", "--frames-per-batch", "2"]
    done = subprocess.run(command, env={**os.environ, **relative}, **start)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["added"] == 4
    assert list((tmp_path / "runs" / report["run"]).glob("*.jsonl"))
    assert not (Path(tmp_path) / "elsewhere" / "cache").exists()
    again = json.loads(subprocess.run(command, env={**os.environ, **relative}, **start).stdout)
    assert again["frames_from_cache"] == 4
    assert path.exists()


def test_names_of_a_server_and_a_function_do_not_flood_the_terminal(client, make_task, write):
    name = "\x1b[2J" + "x" * 5000
    function = load_function_file(
        write(
            f"spec = DetectionFunctionSpec(labels=[label_spec('car', 1), label_spec({name!r}, 2)])\n"
            "def detect(c, i): return [rectangle(2, [0, 0, 5, 5])]\n"
        )
    )
    report = annotate_task(client, make_task(1), function, allow_unmatched_labels=True)
    assert all(len(line) <= 1000 and line.isprintable() for line in report.lines())
    assert all(len(entry) <= 1000 and entry.isprintable() for entry in report.unmatched_labels)


def test_a_numpy_mask_on_a_skipped_frame_is_a_short_entry(client, make_task, write):
    function = load_function_file(
        write(
            "def detect(c, i):\n    if c.frame_name == '0001.png': raise ValueError(str(list(range(10**6))))\n    return []"
        )
    )
    report = annotate_task(client, make_task(2), function, on_frame_error="skip", use_cache=False)
    [entry] = report.frame_errors.values()
    assert len(entry) <= 1000
    assert "strange.py, line 8" in entry
    assert np.prod([len(line) <= 1000 for line in report.lines()])


@pytest.mark.parametrize("text", ["a\\0b", "\\ud800"], ids=["NUL", "half a pair"])
def test_text_that_utf8_cannot_encode_is_a_function_error(client, make_task, write, text):
    text_label = label_spec("car", None, attributes=[text_attribute_spec("note", None)])
    task_id = make_task(1, labels=[text_label])
    path = write(
        'spec = DetectionFunctionSpec(labels=[label_spec("car", 1, attributes=[text_attribute_spec("note", 3)])])\n'
        "def detect(context, image):\n"
        f'    return [rectangle(1, [1, 1, 9, 9], attributes=[models.AttributeValRequest(3, "{text}")])]\n'
    )
    with pytest.raises(BadFunctionError, match="'note' takes any text that UTF-8 can hold"):
        annotate_task(client, task_id, load_function_file(path))


def test_unprintable_version_is_escaped(client, make_task, write):
    path = write('version = "\\ud800"\ndef detect(context, image): return []\n')
    report = annotate_task(client, make_task(1), load_function_file(path), allow_unmatched_labels=True)
    assert report.provenance.function_version == r"\ud800"
    assert report.model_dump_json()


def _module_of(path):
    files = {getattr(module, "__file__", None): module for module in list(sys.modules.values())}
    return files[str(path)]
