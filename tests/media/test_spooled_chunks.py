"""Chunks on disk: downloaded in the order of the batches, shared by them, within a number and a size."""

import threading
import time
import zipfile
from collections import Counter
from contextlib import closing, contextmanager

import pytest

from polling import until
from prefect_cvat.exceptions import MediaError, RunStoppedError, StorageError
from prefect_cvat.frames import ChunkFile, Frame
from prefect_cvat.media.download_limit import DownloadLimit
from prefect_cvat.media.spooled_chunks import SpooledChunks


class Disk:
    """Chunks of some bytes that are written to a folder, some only when they are let through."""

    def __init__(self, folder, size=10, held=(), failures=()):
        self.folder = folder
        self.size = size
        self.held = {number: threading.Event() for number in held}
        self.failures = Counter(failures)
        self.began = []
        self.at_a_time = []
        self.running = 0
        self.lock = threading.Lock()

    def __call__(self, number):
        with self.lock:
            self.began.append(number)
            self.running += 1
            self.at_a_time.append(self.running)
        try:
            if number in self.held:
                assert self.held[number].wait(30)
            if self.failures[number]:
                self.failures[number] -= 1
                raise StorageError(f"no room for chunk {number}")
            path = self.folder / f"{number}"
            path.write_bytes(b"x" * self.size)
            return ChunkFile(number, path, number, 1)
        finally:
            with self.lock:
                self.running -= 1

    def let(self, *numbers):
        for number in numbers:
            self.held[number].set()

    def there(self):
        return sorted(path.name for path in self.folder.iterdir())


@contextmanager
def stays(condition, seconds=0.2):
    end = time.monotonic() + seconds
    yield
    while time.monotonic() < end:
        assert condition()
        time.sleep(0.02)


def test_chunk_is_kept_until_the_last_batch_that_needs_it_ends(tmp_path):
    disk = Disk(tmp_path)
    with closing(SpooledChunks(disk)) as chunks:
        chunks.need(0, [7])
        chunks.need(1, [7])
        chunks.request(0, [7])
        assert chunks.get(7).path.exists()
        chunks.need(0, [])
        assert disk.there() == ["7"]
        chunks.request(1, [7, 8])
        chunks.get(7)
        chunks.get(8)
        assert disk.began == [7, 8]
        chunks.need(1, [8])
        assert disk.there() == ["8"]
        chunks.need(1, [])
        chunks.need(1, [])
        assert disk.there() == []
        chunks.request(2, [7])
        chunks.get(7)
        assert disk.began == [7, 8, 7]


@pytest.mark.parametrize("number", [1, 3, 16])
def test_downloads_the_requested_number_at_a_time_in_order(tmp_path, number):
    disk = Disk(tmp_path, held=range(40))
    with closing(SpooledChunks(disk, DownloadLimit(number))) as chunks:
        for batch in range(4):
            chunks.request(batch, range(10 * batch, 10 * batch + 10))
        for last in range(number, 40):
            until(lambda last=last: len(disk.began) == last)
            assert sorted(disk.began) == list(range(last)), "the first ones"
            disk.let(last - number)
        disk.let(*range(40 - number, 40))
        for each in range(40):
            chunks.get(each)
    assert max(disk.at_a_time) == number


def test_one_at_a_time_while_two_batches_are_on_disk(tmp_path):
    disk = Disk(tmp_path, held=range(20))
    with closing(SpooledChunks(disk)) as chunks:
        for batch in range(5):
            chunks.request(batch, [2 * batch, 2 * batch + 1])
        until(lambda: len(disk.began) == 4)
        disk.let(0, 1, 2)
        until(lambda: len(disk.began) == 7)  # chunk 3, of the second batch, is being downloaded
        disk.let(3)
        with stays(lambda: len(disk.began) == 7):
            chunks.get(3)
        disk.let(4, 5)
        with stays(lambda: len(disk.began) == 7):
            chunks.get(5)
        disk.let(6)
        until(lambda: disk.began == [*range(8)])
        chunks.need(0, [])  # now the batches to come first are those of chunks 2 to 5, and on disk
        with stays(lambda: len(disk.began) == 8):
            pass
        chunks.need(1, [])
        chunks.need(2, [])  # now those of chunks 6 to 9, and chunk 7 is not
        until(lambda: disk.began == [*range(10)])
        disk.let(*range(20))


def test_batch_waits_until_downloads_of_an_earlier_one_are_requested(tmp_path):
    disk = Disk(tmp_path)
    with closing(SpooledChunks(disk)) as chunks:
        chunks.need(0, [0, 1, 2])
        chunks.need(1, [3])
        with stays(lambda: disk.began == []):
            chunks.request(1, [3])
        chunks.request(0, [2])  # the detections on the others are kept
        chunks.get(3)
        assert disk.began == [2, 3]


def test_later_batches_wait_for_disk_space_but_not_the_first(tmp_path):
    disk = Disk(tmp_path, size=100)
    with closing(SpooledChunks(disk, max_bytes=250, count_pixels=lambda _: 100)) as chunks:
        chunks.request(0, range(4))
        for number in range(4):
            chunks.get(number)
        with stays(lambda: len(disk.there()) == 4):
            chunks.request(1, [4])
            chunks.request(2, [5, 6, 7])
        chunks.need(0, [])
        chunks.get(4)
        with stays(lambda: disk.there() in (["4"], ["4", "5"])):
            until(lambda: disk.there() == ["4", "5"])
        chunks.need(1, [])
        for number in (5, 6, 7):
            chunks.get(number)


def test_chunk_size_is_estimated_from_downloaded_chunks(tmp_path):
    disk = Disk(tmp_path, size=10)
    with closing(SpooledChunks(disk, max_bytes=100, count_pixels=lambda _: 60)) as chunks:
        chunks.request(0, [0])
        chunks.request(1, range(1, 9))
        for number in range(9):
            chunks.get(number)
        assert disk.began[0] == 0


def test_batches_share_one_download_and_failed_ones_are_retried_on_request(tmp_path):
    disk = Disk(tmp_path, held=[3], failures=[3])
    with closing(SpooledChunks(disk)) as chunks:
        for batch in range(4):
            chunks.request(batch, [3])
        disk.let(3)
        errors = []
        for _ in range(4):
            with pytest.raises(StorageError, match="no room for chunk 3") as raised:
                chunks.get(3)
            errors.append(raised.value)
        assert len(set(map(id, errors))) == 4, "each may be given the name of its batch"
        chunks.request(2, [3])
        assert chunks.get(3).path.exists()
        assert disk.began == [3, 3]


def test_other_downloads_continue_if_one_fails(tmp_path):
    disk = Disk(tmp_path, failures=[1])
    with closing(SpooledChunks(disk)) as chunks:
        chunks.request(0, range(6))
        with pytest.raises(StorageError, match="no room for chunk 1"):
            chunks.get(1)
        for number in (0, 2, 3, 4, 5):
            assert chunks.get(number).path.exists()


def test_stop_wakes_waiting_threads_and_starts_no_downloads(tmp_path):
    disk = Disk(tmp_path, held=[0, 1])
    chunks = SpooledChunks(disk, DownloadLimit(2))
    chunks.request(0, range(4))
    until(lambda: disk.began == [0, 1])
    ender = threading.Timer(0.1, chunks.stop)
    ender.start()
    with pytest.raises(RunStoppedError, match="stopped before chunk 3"):
        chunks.get(3)
    disk.let(0, 1)
    chunks.close()
    assert disk.began == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("download")]
    ender.join()


def test_closed_reader_does_not_wait(tmp_path):
    disk = Disk(tmp_path, held=[0])
    with closing(SpooledChunks(disk)) as chunks:
        chunks.request(0, [0])
        reader = chunks.of_batch()
        threading.Timer(0.1, reader.give_up).start()
        with pytest.raises(RunStoppedError):
            reader.open(ChunkFile(0, tmp_path / "0", 0, 1))
        disk.let(0)


def test_a_chunk_stays_open_for_the_next_batch_until_none_needs_it(tmp_path):
    def zipped(number):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("000000.png", b"")
        return ChunkFile(number, path, 0, 1)

    chunks = SpooledChunks(zipped)
    chunks.request(0, [0])
    chunks.request(1, [1])
    files = [chunks.get(0), chunks.get(1)]
    reader = chunks.of_batch()
    with reader.open(files[0]) as first:
        pass
    with reader.open(files[0]) as again:
        assert again is first
    with reader.open(files[1]) as second:
        assert first._file.closed
    with pytest.raises(MediaError), reader.open(files[1]) as again:
        list(again.images([Frame(0, "none", 1, 1)]))
    assert again is second
    assert second._file.closed
    with reader.open(files[1]) as third:
        assert third is not second
    chunks.need(1, ())
    assert third._file.closed
    with reader.open(files[0]) as last:
        pass
    chunks.close()
    assert last._file.closed
