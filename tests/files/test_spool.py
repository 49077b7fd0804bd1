"""Spool folders are removed with their process, no matter how it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock
import pytest

from polling import until
from prefect_cvat.files import spool
from prefect_cvat.files.spool import remove_stale_spools, spool_folder

HOLD = """
import time
from prefect_cvat.files.spool import spool_folder
with spool_folder() as folder:
    (folder / "0.zip").write_bytes(b"content")
    print(folder, flush=True)
    time.sleep(60)
"""

SLOW = """
import time
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec

spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])


def detect(context, image):
    print("detecting", flush=True)
    time.sleep(0.5)
    return []
"""

FLOW = """
import sys
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.annotate_task import annotate_task

annotate_task(int(sys.argv[1]), CvatCredentials.load("test"), function="flow_functions.slow_box")
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def spools(folder):
    return list(folder.glob("prefect-cvat-spool-*"))


def wait_for_spool(folder, process):
    def is_there():
        assert process.poll() is None, process.communicate()
        return any((found / "jobs").exists() for found in spools(folder))

    until(is_there, seconds=90)


def test_spool_folder_is_private_and_removed_at_the_end(temporary):
    with spool_folder() as folder:
        (folder / "0.zip").write_bytes(b"content")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert spools(temporary) == [folder]
        assert remove_stale_spools() == 0
    assert not spools(temporary)
    with pytest.raises(ZeroDivisionError), spool_folder():
        _ = 1 / 0
    assert not spools(temporary)


def test_removes_folders_of_killed_processes(temporary):
    killed = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    living = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    with killed, living:
        left, kept = killed.stdout.readline().strip(), living.stdout.readline().strip()
        killed.kill()
        killed.wait()
        assert sorted(map(str, spools(temporary))) == sorted([left, kept])
        with spool_folder() as mine:
            assert sorted(map(str, spools(temporary))) == sorted([kept, str(mine)])
        living.kill()
        living.wait()
        with spool_folder():  # within a minute: it does not look again
            assert kept in map(str, spools(temporary))
    assert remove_stale_spools() == 1
    assert not spools(temporary)


def test_keeps_files_and_folders_of_others(temporary):
    for name in ("prefect-cvat-spool-without-a-lock", "prefect-cvat-demo-1", "another"):
        (temporary / name).mkdir()
        (temporary / name / "file").touch()
        os.utime(temporary / name, (0, 0))
    (empty := temporary / "prefect-cvat-spool-empty").mkdir()
    os.utime(empty, (0, 0))
    (new := temporary / "prefect-cvat-spool-new").mkdir()
    (temporary / "prefect-cvat-spool-link").symlink_to(temporary / "another")
    assert remove_stale_spools() == 1
    assert not empty.exists()
    assert new.exists()
    assert (temporary / "another" / "file").exists()
    assert len(list(temporary.iterdir())) == 5


def test_command_removes_its_folder_on_sigterm(temporary, tmp_path, sandbox, make_task):
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    task_id = make_task(frames=40)
    command = [sys.executable, "-m", "prefect_cvat", "--server-host", sandbox.url]
    command += ["--auth", f"{sandbox.user}:{sandbox.password}", "annotate", str(task_id)]
    with subprocess.Popen(
        [*command, "--function-file", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_spool(temporary, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "ended by SIGTERM; run it again to complete it" in errors
    assert "Traceback" not in errors
    assert not spools(temporary)


@pytest.mark.filterwarnings("default")
def test_flow_run_removes_its_folder_on_sigterm(temporary, prefect_server, sandbox, make_task):
    from prefect.settings import PREFECT_API_URL
    from pydantic import SecretStr

    from prefect_cvat.credentials import CvatCredentials

    CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)).save(
        "test", overwrite=True
    )
    environment = {
        **os.environ,
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_CVAT_FUNCTION_MODULES": "flow_functions",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with subprocess.Popen(
        [sys.executable, "-c", FLOW, str(make_task(frames=40))],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wait_for_spool(temporary, process)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=90)
    assert process.returncode != 0, output
    assert not spools(temporary)


def test_explains_what_to_do_if_no_folder_can_be_created(monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.tempfile, "mkdtemp", full)
    with pytest.raises(spool.StorageError, match="make room there, or set TMPDIR"), spool_folder():
        pass


def test_creates_another_folder_if_a_process_removes_a_new_one(temporary, monkeypatch):
    taken = []
    make = tempfile.mkdtemp

    def make_and_lose(**options):
        folder = make(**options)
        if len(taken) < 2:  # another process removes stale folders first
            taken.append(filelock.FileLock(Path(folder, ".lock")))
            taken[-1].acquire(timeout=0)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with spool_folder() as folder:
        assert folder not in [Path(lock.lock_file).parent for lock in taken]
        assert folder.is_dir()
    assert len(taken) == 2
    for lock in taken:
        lock.release()
