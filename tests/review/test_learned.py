"""What was learned in a project is kept in a file of its own, as a whole."""

import threading
from datetime import UTC, datetime

import pytest

from prefect_cvat.exceptions import StorageError
from prefect_cvat.review.learned import LearnedFunction, TaskEvidence, changing_learned, read_learned

SERVER = "https://cvat.example.com"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_LEARNED_DIR", str(tmp_path / "learned"))
    return tmp_path / "learned"


def test_nothing_is_learned_at_first():
    learned = read_learned(SERVER, 7, 42)
    assert (learned.functions, learned.place) == ({}, "project 7")


def test_tasks_of_a_project_share_a_file_and_tasks_without_a_project_do_not():
    with changing_learned(SERVER, 7, 42) as learned:
        learned.functions["f"] = LearnedFunction(shapes=3)
    assert read_learned("cvat.example.com:443", 7, 43).functions["f"].shapes == 3
    for project, task in ((8, 42), (None, 7), (None, 42)):
        assert read_learned(SERVER, project, task).functions == {}
    assert read_learned("https://other.example.com", 7, 42).functions == {}


def test_an_error_leaves_the_file_as_it_was(folder):
    with changing_learned(SERVER, 7, 42) as learned:
        learned.functions["f"] = LearnedFunction(shapes=3)
    [path] = folder.rglob("*.json")
    before = path.read_bytes()

    def fail():
        with changing_learned(SERVER, 7, 42) as learned:
            learned.functions.clear()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert not list(folder.rglob("*.part"))
    assert path.stat().st_mode & 0o077 == 0


def test_threads_that_learn_at_once_lose_nothing():
    def learn(task):
        with changing_learned(SERVER, 7, task) as learned:
            learned.evidence.setdefault("f", {})[task] = [
                TaskEvidence(frames=task, started=datetime.now(UTC), learned=datetime.now(UTC))
            ]

    threads = [threading.Thread(target=learn, args=[task]) for task in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_learned(SERVER, 7, 1).evidence["f"]) == list(range(1, 9))


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format":1', '{"server":"cvat.example.com","functions":{"f":{"shapes":"x"}}}']
)
def test_a_damaged_file_is_named_and_not_overwritten(folder, text):
    with changing_learned(SERVER, 7, 42):
        pass
    [path] = folder.rglob("*.json")
    path.write_text(text)
    with pytest.raises(StorageError, match=r"project-7\.json is not what .* delete it, and learn again"):
        read_learned(SERVER, 7, 42)
    with pytest.raises(StorageError), changing_learned(SERVER, 7, 42):
        pytest.fail("it was read")
    assert path.read_text() == text


def test_a_file_of_another_format_is_refused(folder):
    with changing_learned(SERVER, 7, 42) as learned:
        learned.format = 99
    with pytest.raises(StorageError, match="has format 99"):
        read_learned(SERVER, 7, 42)


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_CVAT_LEARNED_DIR", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="PREFECT_CVAT_LEARNED_DIR"), changing_learned(SERVER, 7, 42):
        pytest.fail("it was read")
