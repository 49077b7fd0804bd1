"""Folders of this package and their files have the permissions of their parent folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from prefect_cvat.exceptions import StorageError
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.records.run_lock import exclusive_run

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users"
)

ALICE, BOB, GROUP = 54_001, 54_002, 54_100

ANNOTATE = """
import os, sys
sys.path[:0] = {path!r}
import filelock
import prefect_cvat.records.run_lock
import prefect_cvat.runs.annotate_task  # imports what is loaded at first use
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.frames import FrameDetections

filelock.ReadWriteLock, filelock.FileLock, filelock.Timeout  # all is imported while this is root
os.umask(0o077)
os.setgroups([{group}])
os.setgid({user})
os.setuid({user})
cache = DetectionCache()
print("found" if cache.get("ab" * 32) is not None else "not found", flush=True)
try:
    with prefect_cvat.records.run_lock.exclusive_run("http://cvat.example.com", 1, {jobs!r}) as lock:
        if lock.earlier_write is not None:
            lock.wait_for_earlier_write(0)
        lock.sending(7)
        cache.put("ab" * 32, [FrameDetections(0, [], [])])
        if {killed!r}:
            os.kill(os.getpid(), 9)
        if {held!r}:
            print("held", flush=True)
            sys.stdin.readline()
except PrefectCvatError as error:
    print(type(error).__name__, error)
else:
    print("done")
"""


def start(user, *, killed=False, held=False, jobs=None):
    code = ANNOTATE.format(path=sys.path, group=GROUP, user=user, killed=killed, held=held, jobs=jobs)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )


def annotate(user, **options):
    with start(user, **options) as process:
        output, _ = process.communicate(timeout=60)
    return output.splitlines()


@pytest.fixture
def shared(monkeypatch):
    """The folder that both users have as their cache."""
    with tempfile.TemporaryDirectory() as outer:  # folders of pytest are for its user only
        Path(outer).chmod(0o755)
        monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", f"{outer}/cache")
        yield Path(outer) / "cache"


@as_root
@pytest.mark.parametrize("jobs", [None, [7, 8]])
def test_group_members_share_cache_folder_and_locks(shared, jobs):
    shared.mkdir()
    os.chown(shared, ALICE, GROUP)
    shared.chmod(0o2770)
    assert annotate(ALICE, killed=True, jobs=jobs) == ["not found"]
    assert annotate(BOB, jobs=jobs) == ["found", "done"]
    assert annotate(ALICE, jobs=jobs) == ["found", "done"]
    with start(BOB, held=True, jobs=jobs) as holder:
        assert [holder.stdout.readline() for _ in range(2)] == ["found\n", "held\n"]
        [_, refused] = annotate(ALICE, jobs=jobs)
        assert refused.startswith("RunInProgressError")
        assert f"process {holder.pid} on" in refused
        holder.communicate("\n")
    for path in shared.rglob("*"):
        assert path.stat().st_gid == GROUP
        assert path.stat().st_mode & 0o077 == (0o070 if path.is_dir() else 0o060)


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=oct)
def test_explains_how_to_share_a_private_folder(shared, mode):
    shared.mkdir()
    os.chown(shared, ALICE, ALICE)
    shared.chmod(mode)
    assert annotate(ALICE) == ["not found", "done"]
    [_, refused] = annotate(BOB)
    assert refused.startswith("StorageError the locks of runs in")
    assert "belong to another user, who does not share them" in refused
    assert "chmod -R g+rwX" in refused
    assert "or set PREFECT_CVAT_CACHE_DIR to a folder of your own" in refused
    assert annotate(ALICE) == ["found", "done"]


@as_root
def test_reports_private_locks_of_an_earlier_version(shared):
    shared.mkdir()
    os.chown(shared, ALICE, GROUP)
    shared.chmod(0o2770)
    assert annotate(ALICE)[-1] == "done"
    for lock in (shared / "locks").glob("*.lock"):
        lock.chmod(0o600)
    [_, refused] = annotate(BOB)
    assert refused.startswith("StorageError")
    assert "chmod -R g+rwX" in refused


def test_creates_private_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "new" / "cache"))
    before = os.umask(0)
    try:
        with exclusive_run("http://cvat.example.com", 1, [7]) as lock:
            lock.sending(7)
            DetectionCache().put("ab" * 32, [])
            modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "cache").rglob("*")}
    finally:
        os.umask(before)
    assert len(modes) == 9
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_explains_what_to_do_if_locks_cannot_be_created(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "file"))
    with (
        pytest.raises(StorageError, match="the locks of runs cannot be written in"),
        exclusive_run("http://cvat.example.com", 1),
    ):
        pass
