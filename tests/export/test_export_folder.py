"""The folder of an export: names of files, and exports that are interrupted or killed."""

import contextlib
import os
import signal
import subprocess
import sys
import zipfile

import pytest

from export.exported import (
    Boxes,
    files_in,
)
from pictures import picture
from prefect_cvat.export import export_task
from prefect_cvat.export.frame_file_names import FileNames
from prefect_cvat.export.image_folder import ImageFolder
from prefect_cvat.export.output_folder import LOCK
from prefect_cvat.frames import ChunkFile, Frame

HOSTILE = {
    "../../etc/passwd.png": "etc/passwd.png",
    "/abs/a.png": "abs/a.png",
    r"C:\photos\b.png": "C_/photos/b.png",
    "line\nbreak.png": "line_break.png",
    "...": "frame_000004",
    "day 1/c.png": "day 1/c.png",
    "day 1/C.PNG": "day 1/C_6.PNG",
    "day 1/c.jpg": "day 1/c_7.jpg",
    "day 1/c_7.jpg": "day 1/c_7_8.jpg",
    "x" * 300 + ".png": "x" * 200 + ".png",
    "photo": "photo",
    "ä.png": "ä.png",
    "a\u0308.png": "a\u0308_12.png",
}


def test_file_names_are_within_the_folder_and_unique_without_suffix():
    frames = [Frame(number, name, 8, 8) for number, name in enumerate(HOSTILE)]
    names = FileNames(frames, of_video=False)
    assert [names.image(frame) for frame in frames] == list(HOSTILE.values())
    texts = [names.text(frame).casefold() for frame in frames]
    assert len(set(texts)) == len(texts)
    unchanged = {name for name, file in HOSTILE.items() if name == file}
    assert {name for name, _ in names.changed(frames)} == HOSTILE.keys() - unchanged


def test_images_with_hostile_names_or_wrong_suffixes_are_stored_safely(tmp_path):
    chunk = ChunkFile(0, tmp_path / "chunk.zip", 0, 3)
    frames = [Frame(0, "../out.png", 64, 48), Frame(1, "a.png", 64, 48), Frame(2, "b", 64, 48)]
    formats = ["PNG", "JPEG", "WEBP"]
    with zipfile.ZipFile(chunk.path, "w") as archive:
        for number, kind in enumerate(formats):
            archive.writestr(f"{number}", picture(image_format=kind))
    folder = tmp_path / "images"
    ImageFolder(folder, FileNames(frames, of_video=False)).save(chunk, frames)
    assert files_in(tmp_path) == ["chunk.zip", "images/a.jpg", "images/b.webp", "images/out.png"]
    for name, kind in zip(["out.png", "a.jpg", "b.webp"], formats, strict=True):
        assert (folder / name).read_bytes() == picture(image_format=kind)


def test_folder_that_is_not_empty_is_refused(client, make_task, tmp_path):
    task_id = make_task(1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("work")
    (tmp_path / "file").write_text("work")
    for name in ("full", "file"):
        function = Boxes()
        with pytest.raises(ValueError, match="nothing is overwritten"):
            export_task(client, task_id, function, folder=tmp_path / name)
        assert function.seen == []
    assert files_in(tmp_path) == ["file", "full/precious"]
    (tmp_path / "empty").mkdir()
    export_task(client, task_id, Boxes(), folder=tmp_path / "empty")
    assert files_in(tmp_path / "empty") == ["annotations.json", "images/0000.png"]


@pytest.mark.ctrl_c
def test_interrupted_export_leaves_nothing(client, make_task, tmp_path):
    class Interrupted(Boxes):
        version = None

        def detect(self, context, image):
            if len(self.seen) == 2:
                assert list(tmp_path.rglob("0000.png"))  # it is on its way, not in its place
                assert not (tmp_path / "set").exists()
                os.kill(os.getpid(), signal.SIGINT)
            return super().detect(context, image)

    with pytest.raises(KeyboardInterrupt):
        export_task(client, make_task(4), Interrupted(), folder=tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


WRITES_UNTIL_IT_IS_KILLED = """
import sys, time
from types import SimpleNamespace
from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.export import export_task

def detect(context, image):
    print("at work", flush=True)
    time.sleep(600)

url, user, password, task, folder = sys.argv[1:]
function = SimpleNamespace(spec=DetectionFunctionSpec(labels=[label_spec("car", 1)]), detect=detect)
with Client(url) as client:
    client.login((user, password))
    export_task(client, int(task), function, folder=folder)
"""


@contextlib.contextmanager
def at_work(sandbox, task_id, folder):
    """Another exporting process that has written a part, and then hangs."""
    told = [sandbox.url, sandbox.user, sandbox.password, str(task_id), str(folder)]
    command = [sys.executable, "-c", WRITES_UNTIL_IT_IS_KILLED, *told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def hidden_in(folder):
    return {path for path in folder.iterdir() if path.name.startswith(".")}


def test_next_export_removes_files_of_a_killed_export(client, sandbox, make_task, tmp_path):
    task_id = make_task(2)
    with at_work(sandbox, task_id, tmp_path / "set") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [left] = hidden_in(tmp_path)
    assert list(left.rglob("*.png"))
    export_task(client, task_id, Boxes(), folder=tmp_path / "other")
    assert hidden_in(tmp_path) == {left}  # it was another place
    export_task(client, task_id, Boxes(), folder=tmp_path / "set")
    assert hidden_in(tmp_path) == set()
    assert (tmp_path / "set" / "annotations.json").is_file()


def test_export_removes_no_folder_that_is_locked_or_foreign(client, sandbox, make_task, tmp_path):
    task_id = make_task(2)
    elsewhere = tmp_path / "elsewhere"
    for folder in (tmp_path / ".set.mine", tmp_path / ".set.with_lock", elsewhere):
        (folder / "set").mkdir(parents=True)
        (folder / "set" / "precious").write_text("work")
    for folder in (tmp_path / ".set.with_lock", elsewhere):
        (folder / LOCK).touch()
    (tmp_path / ".set.with_lock" / "precious").write_text("work")  # we put nothing else there
    (tmp_path / ".set.link").symlink_to(elsewhere)
    (tmp_path / ".set.file").write_text("work")
    before = hidden_in(tmp_path)
    with at_work(sandbox, task_id, tmp_path / "set"):
        [of_other] = hidden_in(tmp_path) - before
        was_there = files_in(tmp_path)
        export_task(client, task_id, Boxes(), folder=tmp_path / "set")
        assert hidden_in(tmp_path) == before | {of_other}
        assert set(was_there) <= set(files_in(tmp_path))
