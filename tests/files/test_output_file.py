"""Files that are checked before they are written."""

import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.output_file import check_writable, write_text


def test_checking_a_writable_file_does_not_change_it(tmp_path, monkeypatch):
    there = tmp_path / "there.json"
    there.write_text("of before")
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "not yet.json")
    monkeypatch.chdir(tmp_path)
    for file in (
        there,
        tmp_path / "new.json",
        link,
        type(tmp_path)("relative.json"),
        type(tmp_path)("/dev/null"),
    ):
        check_writable(file)
    assert there.read_text() == "of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "there.json"]


def test_checking_does_not_open_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)  # would wait for a reader for ever


def test_refuses_a_link_into_a_missing_folder(tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "no" / "such.json")
    with pytest.raises(StorageError, match="there is no folder"):
        check_writable(link)


def test_raises_storage_error_if_writing_fails(tmp_path):
    with pytest.raises(StorageError, match=r"such.json' cannot be written: No such file"):
        write_text(tmp_path / "no" / "such.json", "{}")


@pytest.fixture
def full_disk():
    """No file may have more than 1,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_was_there_stays_where_the_disk_is_full(tmp_path, full_disk):
    page = tmp_path / "page.html"
    write_text(page, "of before")
    with pytest.raises(StorageError, match=r"page.html' cannot be written: File too large"):
        write_text(page, "x" * 5000)
    assert page.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [page]


def test_keeps_permissions_and_links(tmp_path):
    page, link = tmp_path / "page.html", tmp_path / "link.html"
    link.symlink_to(page)
    write_text(link, "one")
    assert stat.S_IMODE(page.stat().st_mode) == 0o666 & ~_umask()
    page.chmod(0o604)
    write_text(link, "two")
    assert (link.is_symlink(), page.read_text()) == (True, "two")
    assert stat.S_IMODE(page.stat().st_mode) == 0o604


def _umask():
    before = os.umask(0)
    os.umask(before)
    return before


def test_file_with_another_name_stays_the_same_file(tmp_path):
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    page.write_text("of before")
    other.hardlink_to(page)
    write_text(page, "new")
    assert other.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [other, page]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
@pytest.mark.parametrize(
    ("owner", "group", "stays"),
    [
        pytest.param(1001, 2000, True, id="of another user, shared with the group"),
        pytest.param(1002, 3000, True, id="of a group that the writer is not in"),
        pytest.param(1002, 2000, False, id="of the writer, with another group of the writer"),
    ],
)
def test_shared_file_keeps_its_owner_and_group(owner, group, stays):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    page = folder / "page.html"
    page.write_text("of before")
    os.chown(page, owner, group)
    page.chmod(0o660)
    folder.chmod(0o777)
    before = page.stat()
    try:
        with _user(1002, groups=[1002, 2000]):
            write_text(page, "new")
        after = page.stat()
        assert page.read_text() == "new"
        assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (owner, group, 0o660)
        assert (after.st_ino == before.st_ino) == stays
        assert list(folder.iterdir()) == [page]
    finally:
        shutil.rmtree(folder)


@contextmanager
def _user(user, *, groups):
    """Another user writes; the first group is the user's own."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(groups)
    os.setegid(groups[0])
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])


def test_writes_a_file_in_a_read_only_folder():
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        page = folder / "page.html"
        page.write_text("of before")
        page.chmod(0o666)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        try:
            write_text(page, "new")
        finally:
            os.seteuid(user)
        assert page.read_text() == "new"
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("is_piped", [True, False])
def test_standard_output_stays_what_it_is(tmp_path, is_piped):
    code = """
import pathlib
from prefect_cvat.files.output_file import write_text
write_text(pathlib.Path("/dev/stdout"), "report\\n")
print("after", flush=True)
"""
    out = tmp_path / "out.txt"
    with out.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE if is_piped else file, text=True, check=True
        )
    assert (done.stdout if is_piped else out.read_text()) == "report\nafter\n"
