"""The list of recorded runs, and removal of old records."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from click.testing import CliRunner

from polling import until
from prefect_cvat import annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.cli.app import app
from prefect_cvat.exceptions import BadFunctionError, RunInProgressError, RunNotFoundError
from prefect_cvat.records.run_list import list_runs, prune_runs
from prefect_cvat.records.run_lock import exclusive_run, locks_folder
from prefect_cvat.upload.undo_annotations import undo_run

YEAR = timedelta(days=365)


class Finds:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0, type="rectangle")])

    def detect(self, context, image):
        return [rectangle(0, [1, 2, 30, 40])]


class Waits(Finds):
    """Finds on two batches, and waits in the third one."""

    def __init__(self):
        self.seen = 0
        self.is_waiting = threading.Event()
        self.go_on = threading.Event()

    def detect(self, context, image):
        self.seen += 1
        if self.seen == 5:
            self.is_waiting.set()
            assert self.go_on.wait(60)
        return super().detect(context, image)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def command(*arguments):
    return CliRunner().invoke(app, ["runs", *arguments], env={"PREFECT_API_URL": ""})


def age(folder, days):
    then = time.time() - days * 86400
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


def test_runs_are_listed_with_their_kind_and_added_annotations(client, make_task, sandbox):
    task_id = make_task()
    annotated = annotate_task(client, task_id, Finds(), frames_per_batch=2)
    tracked = track_task(client, task_id, Finds())
    newest, oldest = list_runs()
    assert (newest.run, newest.kind, newest.state) == (tracked.run, "track", "ended")
    assert (oldest.run, oldest.kind, oldest.added, oldest.task_id) == (annotated.run, "annotate", 6, task_id)
    done = command()
    assert done.exit_code == 0
    assert re.fullmatch(
        rf"{annotated.run}  \d{{4}}-\d\d-\d\d \d\d:\d\d UTC  annotate  Finds  {sandbox.url}/tasks/{task_id}"
        r"  6 added  ended",
        done.stdout.splitlines()[1],
    )
    assert [run["run"] for run in json.loads(command("--json").stdout)] == [tracked.run, annotated.run]


def test_a_run_is_shown_with_settings_and_report_and_can_be_undone(client, make_task, sandbox, folders):
    first, second = make_task(), make_task(1)
    annotated = annotate_task(client, first, Finds(), label_thresholds={"car": 0.0})
    annotate_task(client, second, Finds())
    listed = command("--task", str(first)).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [annotated.run]

    lines = command("show", annotated.run[:8]).stdout.splitlines()
    assert lines[0] == listed[0]
    assert "label_thresholds: {'car': 0.0}" in lines
    assert "annotations: 6 car" in lines
    assert lines[-1] == f"to undo it: prefect-cvat --server-host {sandbox.url} undo {annotated.run}"
    shown = json.loads(command("show", annotated.run, "--json").stdout)
    assert shown["reports"] == [annotated.model_dump(mode="json")]

    login = ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]
    done = CliRunner().invoke(app, [*login, "runs", "undo", annotated.run])
    assert (done.exit_code, "6 removed" in done.stdout) == (0, True), done.output

    [report] = (folders / "runs" / annotated.run).glob("*.report.json")
    report.unlink()
    assert "no report: the run is running or was killed" in command("show", annotated.run).stdout


@pytest.mark.usefixtures("sent_at_once")
def test_the_report_of_a_failed_run_is_shown(client, make_task):
    class Breaks(Finds):
        def detect(self, context, image):
            if context.frame_name == "0005.png":
                raise ZeroDivisionError
            return super().detect(context, image)

    with pytest.raises(BadFunctionError):
        annotate_task(client, make_task(), Breaks(), frames_per_batch=1)
    [run] = list_runs()
    [report] = json.loads(command("show", run.run, "--json").stdout)["reports"]
    assert (report["run"], report["added"], report["batches"] > 0) == (run.run, 0, True)


@pytest.mark.usefixtures("sent_at_once")
@pytest.mark.parametrize("of_jobs", [False, True])
def test_only_the_current_run_on_a_task_is_running(client, make_task, of_jobs):
    task_id = make_task(segment_size=6)
    jobs = [job.id for job in client.jobs(task_id)] if of_jobs else None
    annotate_task(client, task_id, Finds(), frames=[0], jobs=jobs)
    function = Waits()
    running = threading.Thread(
        target=lambda: annotate_task(client, task_id, function, frames_per_batch=2, jobs=jobs)
    )
    running.start()
    try:
        assert function.is_waiting.wait(60)
        until(lambda: len(list_runs()) == 2, every=0.05)
        assert [run.state for run in list_runs()] == ["running", "ended"]
    finally:
        function.go_on.set()
        running.join()
    assert [run.state for run in list_runs()] == ["ended", "ended"]


def test_run_killed_during_a_write_is_interrupted(client, make_task, folders):
    report = annotate_task(client, make_task(), Finds())
    [file] = (folders / "runs" / report.run).glob("*.jsonl")
    with file.open("a") as record:
        record.write('{"job":1,"after":{"shapes":9},"sent":["ab"]}\n')
    assert [run.state for run in list_runs()] == ["interrupted"]


def test_old_records_and_locks_are_removed_and_undo_reports_it(client, make_task, folders):
    old = annotate_task(client, make_task(), Finds())
    age(folders / "runs", 100)
    age(folders / "cache" / "locks", 100)
    new = annotate_task(client, make_task(segment_size=3), Finds(), jobs=None)
    locks = len(list(locks_folder().glob("*.lock")))
    done = command("prune", "--older-than", "90d", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "1 record of runs, 1 lock file would be removed",
        "these runs can no longer be undone then",
    ]
    assert len(list_runs()) == 2
    done = command("prune", "--older-than", "90d", "--json")
    assert json.loads(done.stdout) == {"runs": [old.run], "locks": 1, "spools": 0, "dry_run": False}
    assert [run.run for run in list_runs()] == [new.run]
    assert len(list(locks_folder().glob("*.lock"))) == locks - 1
    with pytest.raises(RunNotFoundError, match="has been removed with `prefect-cvat runs prune`"):
        undo_run(client, old.run)
    assert undo_run(client, new.run).removed == 6


@pytest.mark.parametrize("jobs", [None, [7, 8]])
def test_locks_of_running_runs_are_kept_and_exclude_other_runs(folders, jobs):
    url = "http://cvat.example.com"
    with exclusive_run(url, 1, jobs):
        age(folders / "cache" / "locks", 400)
        held = sorted(locks_folder().iterdir())
        assert prune_runs(YEAR).locks == 0
        assert sorted(locks_folder().iterdir()) == held
        with pytest.raises(RunInProgressError):
            exclusive_run(url, 1, jobs).__enter__()
    age(folders / "cache" / "locks", 400)
    assert prune_runs(YEAR).locks == (1 if jobs is None else 3)
    assert [path.name for path in locks_folder().iterdir()] == ["guard"]
    with exclusive_run(url, 1, jobs), pytest.raises(RunInProgressError):
        exclusive_run(url, 1).__enter__()


def test_notes_of_killed_runs_are_removed(folders):
    hold = """
import os
from prefect_cvat.records.run_lock import exclusive_run
with exclusive_run("http://cvat.example.com", 1, [7]) as lock:
    lock.sending(7)
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", hold], timeout=60)
    assert prune_runs(YEAR).locks == 0
    age(folders / "cache" / "locks", 400)
    assert (
        prune_runs(YEAR, dry_run=True).locks == 4
    )  # of the task and the job: the holder, and the write in progress
    assert prune_runs(YEAR).locks == 4
    assert [path.name for path in locks_folder().iterdir()] == ["guard"]


def test_runs_never_share_a_task_while_locks_are_removed(folders):
    """A lock removed between opening and acquiring would exclude nobody."""
    url, at_work, together, done = "http://cvat.example.com", [], [], []
    ended = threading.Event()

    def prune():
        while not ended.is_set():
            for path in locks_folder().glob("*.lock"):
                try:
                    os.utime(path, (0, 0))
                except FileNotFoundError:
                    continue
            prune_runs(YEAR)

    def run():
        until = time.monotonic() + 4
        while time.monotonic() < until:
            try:
                with exclusive_run(url, 1):
                    at_work.append(1)
                    together.append(len(at_work))
                    time.sleep(0.001)
                    at_work.pop()
                    done.append(1)
            except RunInProgressError:
                pass

    with exclusive_run(url, 1):
        pass
    runs = [threading.Thread(target=run) for _ in range(3)]
    pruner = threading.Thread(target=prune)
    for thread in [pruner, *runs]:
        thread.start()
    for thread in runs:
        thread.join()
    ended.set()
    pruner.join()
    assert set(together) == {1}
    assert len(done) > 10


@pytest.mark.usefixtures("sent_at_once")
def test_running_runs_and_other_files_are_kept(client, make_task, folders):
    function = Waits()
    running = threading.Thread(
        target=lambda: annotate_task(client, make_task(), function, frames_per_batch=2)
    )
    running.start()
    try:
        assert function.is_waiting.wait(60)
        until(list_runs, every=0.05)
        (folders / "runs" / "no-record").mkdir()
        (folders / "runs" / "no-record" / "notes.txt").touch()
        [run] = list_runs()
        assert run.state == "running"
        assert prune_runs(timedelta(hours=1)).runs == []
    finally:
        function.go_on.set()
        running.join()
    age(folders / "runs", 400)
    assert prune_runs(YEAR).runs == [run.run]
    assert (folders / "runs" / "no-record" / "notes.txt").exists()


def test_a_record_that_cannot_be_read_is_removed_when_it_is_old(folders):
    (folders / "runs" / "of-another-version").mkdir(parents=True)
    (folders / "runs" / "of-another-version" / "a.jsonl").write_text('{"format":1}\n')
    age(folders / "runs", 400)
    assert list_runs() == []
    assert prune_runs(YEAR).runs == ["of-another-version"]
    assert not list((folders / "runs").iterdir())


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("90", "is no age"), ("-1d", "is no age"), ("0d", "are not removed"), ("59m", "is no age")],
)
def test_invalid_or_too_low_age_is_refused(wanted, said):
    done = command("prune", f"--older-than={wanted}")
    assert done.exit_code != 0
    assert said in done.output or said in str(done.exception)


def test_without_any_run_there_is_nothing_to_list_and_nothing_to_remove():
    assert (command().exit_code, command().stdout) == (0, "")
    assert command("prune", "--older-than", "1h").stdout == "0 records of runs, 0 lock files removed\n"


@pytest.mark.filterwarnings("default")
def test_limits_left_by_killed_runs_are_removed_from_the_prefect_server(prefect_server, monkeypatch):
    from prefect.settings import PREFECT_API_URL

    from prefect_cvat.tasks import wait_for_task as task_slots
    from prefect_cvat.tasks.prefect_limits import ensure_limit

    name = "prefect-cvat-task-cvat-example-com-1"
    ensure_limit(name, 1000)
    monkeypatch.setattr(task_slots.remove_unused_limits, "__defaults__", (0.0,))
    arguments = ["runs", "prune", "--older-than", "90d"]
    done = CliRunner().invoke(app, arguments, env={"PREFECT_API_URL": PREFECT_API_URL.value()})
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines()[-1] == "1 limit of killed runs removed from the Prefect server"
    assert ensure_limit(name, 1000) == "created"  # there was none
