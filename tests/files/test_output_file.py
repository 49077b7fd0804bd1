"""Files that are checked before they are written."""

import os

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
