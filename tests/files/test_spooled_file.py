import errno
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.files.spooled_file import MAX_MEMORY, MemoryShare, SpooledFile
from prefect_cvat.upload.job_ledger import JobLedger


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr("prefect_cvat.files.spooled_file.MAX_MEMORY", 10)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=9) | st.none()), max_size=30),
    st.integers(0, 40),
)
def test_files_hold_what_was_appended(operations, memory):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect_cvat.files.spooled_file.MAX_MEMORY", memory)
        share = MemoryShare()
        files = [SpooledFile(Path(folder) / str(number), share) for number in range(3)]
        expected = [b""] * 3
        for number, data in operations:
            if data is None:
                files[number].clear()
                expected[number] = b""
            else:
                files[number].append(data)
                expected[number] += data
            on_disk = sum(path.stat().st_size for path in Path(folder).iterdir())
            assert sum(map(len, expected)) - on_disk <= memory
        for file, content in zip(files, expected, strict=True):
            assert (file.read(), file.size) == (content, len(content))
            assert b"".join(file.lines()) == content
            assert all(line.endswith(b"\n") for line in list(file.lines())[:-1])
            file.clear()
        assert share.take(memory)  # all was given back
        assert not list(Path(folder).iterdir())


@pytest.mark.usefixtures("small_memory")
def test_file_goes_to_disk_when_the_memory_is_used_up(tmp_path):
    share = MemoryShare()
    first, second = (SpooledFile(tmp_path / name, share) for name in ("first", "second"))
    first.append(b"123456")
    second.append(b"1234")
    assert not list(tmp_path.iterdir())
    second.append(b"5")
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
    first.append(b"7")  # the second has given back its part
    second.append(b"6")
    assert (first.read(), second.read()) == (b"1234567", b"123456")
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def test_large_file_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_cvat.files.spooled_file.MAX_FILE", 5)
    share = MemoryShare()
    file = SpooledFile(tmp_path / "file", share)
    file.append(b"1234")
    assert not list(tmp_path.iterdir())
    file.append(b"56")
    assert (tmp_path / "file").read_bytes() == b"123456" == file.read()
    assert share.take(MAX_MEMORY)


@pytest.mark.parametrize("before", [b"", b"12345"])
@pytest.mark.usefixtures("small_memory")
def test_nothing_is_appended_when_the_disk_is_full(tmp_path, monkeypatch, before):
    file = SpooledFile(tmp_path / "file", MemoryShare())
    file.append(before)
    opened = Path.open

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            with opened(tmp_path / "file", "ab") as half:
                half.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: Full())
        with pytest.raises(OSError, match="no space"):
            file.append(b"x" * 20)
    assert (file.read(), file.size) == (before, len(before))
    file.append(b"y" * 20)
    assert file.read() == before + b"y" * 20


def test_small_job_takes_no_file(tmp_path):
    ledger = JobLedger(tmp_path, 1, ["auto"], {}, share=MemoryShare())
    box = {"id": 1, "frame": 0, "label_id": 1, "type": "rectangle", "points": [0, 0, 9, 9], "source": "auto"}
    ledger.read_baseline([("shapes", box)], lambda _: False)
    ledger.note_added(ledger.stored([("shapes", {**box, "id": 2})]))
    assert not list(tmp_path.iterdir())
    assert len(ledger.added_ids()) == 1
