"""Issues that a run opens on the frames with the lowest scores: once, and only its own."""

from types import SimpleNamespace

import pytest

from clips import clip, number_on
from command_line import run_command_text
from prefect_cvat import Client, TrackOptions, annotate_task, track_task, undo_run
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.cvat.issues import MARK, list_issues
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.records.record_reader import read_run, recorded_runs
from prefect_cvat.rendering.run_report_markdown import escape, render_markdown
from prefect_cvat.runs import review_issues
from prefect_cvat.sandbox.api.reply import forbidden
from prefect_cvat.sandbox.tasks import issues as sandbox_issues
from prefect_cvat.settings import Settings
from unknown_outcomes import LATE, with_each_unknown_outcome

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


def detect(context, image):
    """The later the frame, the less sure; nothing on frame 0."""
    number = int(context.frame_name.split(".")[0])
    return [rectangle(7, [1, 2, 11, 12], score=1 - 0.1 * number)] if number else []


FUNCTION = SimpleNamespace(spec=SPEC, detect=detect)

OPENS = {"methods": ["POST"], "path": "/api/issues$"}

TOUCHES = {
    "resolve": lambda client, issue: client.json("PATCH", f"/api/issues/{issue}", body={"resolved": True}),
    "give": lambda client, issue: client.json(
        "PATCH", f"/api/issues/{issue}", body={"assignee": client.user().id}
    ),
    "answer": lambda client, issue: client.json(
        "POST", "/api/comments", body={"issue": issue, "message": "I see"}
    ),
}
"""What a human may do with an issue."""


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(review_issues, "RETRY", RetryPolicy(first_delay=0.01))
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.5")


@pytest.fixture
def task_id(make_task):
    """Six frames in two jobs; in the order of the report they are 0 (0.83), 5 (0.5), 4 (0.4), and so on."""
    return make_task(6, segment_size=3)


def issues(client, task_id):
    """The frames and places of the issues of a task, job by job."""
    return [
        (issue.job, issue.frame, issue.position)
        for job in client.jobs(task_id)
        for issue in list_issues(client, job.id)
    ]


def test_opens_issues_on_the_most_uncertain_frames(client, task_id):
    report = annotate_task(client, task_id, FUNCTION, open_issues=2)
    first, second = (job.id for job in client.jobs(task_id))
    assert issues(client, task_id) == [(first, 0, [0, 0, 64, 48]), (second, 5, [1, 2, 11, 12])]
    messages = [issue.messages for job in (first, second) for issue in list_issues(client, job)]
    assert messages == [
        (f"{MARK}nothing detected, as on 1 of 6 frames (expected corrections: 0.83)",),
        (f"{MARK}1 shape, lowest score 0.50 (expected corrections: 0.50)",),
    ]
    assert (report.issues_opened, report.issues_already_there, report.issues_failed) == (2, 0, "")
    assert "issues: 2 opened" in report.lines()
    assert len(report.review) == 6


def test_opens_no_issues_by_default(client, task_id):
    report = annotate_task(client, task_id, FUNCTION)
    assert issues(client, task_id) == []
    assert report.issues_opened == 0
    with pytest.raises(ValueError, match="open_issues must be 0 or more, not -1"):
        annotate_task(client, task_id, FUNCTION, open_issues=-1)


def test_opens_issues_without_frames_in_the_report(client, task_id):
    report = annotate_task(client, task_id, FUNCTION, open_issues=1, review_frames=0)
    assert (len(issues(client, task_id)), report.review) == (1, [])


def test_opens_one_issue_per_frame(client, task_id):
    annotate_task(client, task_id, FUNCTION, open_issues=2)
    report = annotate_task(client, task_id, FUNCTION, open_issues=3)
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 5, 4]
    assert (report.issues_opened, report.issues_already_there) == (1, 2)
    assert "issues: 1 opened, 2 there already" in report.lines()


def test_does_not_reopen_resolved_issues(client, task_id):
    annotate_task(client, task_id, FUNCTION, open_issues=1)
    [issue] = list_issues(client, client.jobs(task_id)[0].id)
    client.json("PATCH", f"/api/issues/{issue.id}", body={"resolved": True})
    report = annotate_task(client, task_id, FUNCTION, open_issues=1)
    assert (report.issues_opened, report.issues_already_there) == (0, 1)
    assert len(issues(client, task_id)) == 1


def test_keeps_manual_issues_and_does_not_count_them(client, sdk, task_id):
    from cvat_sdk import models

    job = client.jobs(task_id)[0].id
    human = sdk.issues.create(
        models.IssueWriteRequest(job=job, frame=0, position=[1.0, 2.0], message=f"see what {MARK}says")
    )
    sdk.comments.create(models.CommentWriteRequest(human.id, message=f"{MARK}is what I mean"))
    before = client.json("GET", f"/api/issues/{human.id}")
    report = annotate_task(client, task_id, FUNCTION, open_issues=1)
    assert report.issues_opened == 1
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 0]
    assert client.json("GET", f"/api/issues/{human.id}") == before


def test_reads_all_pages_of_issues(client, task_id):
    job = client.jobs(task_id)[1].id
    for number in range(105):
        body = {"job": job, "frame": 3, "position": [1, 2], "message": f"{MARK}{number}"}
        client.json("POST", "/api/issues", body=body)
    assert [issue.messages for issue in list_issues(client, job)] == [(f"{MARK}{n}",) for n in range(105)]


def test_reports_refused_issues_without_failing(client, task_id):
    def refuse(*_):
        raise forbidden()

    annotate_task(client, task_id, FUNCTION, open_issues=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox_issues, "_add_comment", refuse)
        report = annotate_task(client, task_id, FUNCTION, open_issues=3)
    assert (report.added, report.already_there) == (0, 5)
    assert (report.issues_opened, report.issues_already_there) == (0, 1)
    [line] = [line for line in report.lines() if line.startswith("issues that were not opened: ")]
    assert "403" in line
    assert "You do not have permission" in line
    assert escape(report.issues_failed) in render_markdown(report)
    assert annotate_task(client, task_id, FUNCTION, open_issues=3).issues_opened == 2
    assert len(issues(client, task_id)) == 3


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 504, "when": "after"},
        {"kind": "status", "status": 500, "when": "before"},
        {"kind": "reset", "when": "after"},
        {"kind": "reset", "when": "before"},
        {"kind": "truncate"},
        LATE,
        {**LATE, "answer": "reset"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_opens_one_issue_if_a_request_has_an_unknown_result(client, task_id, faults, fault):
    faults.set([{**OPENS, "fault": fault, "times": 3}])
    report = annotate_task(client, task_id, FUNCTION, open_issues=2)
    arrives = fault["kind"] in ("truncate", "late_commit") or fault.get("when") == "after"
    assert len(faults.log()) == (2 if arrives else 3)  # what has arrived is not sent again
    faults.wait()
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 5]
    assert (report.issues_opened, report.issues_already_there, report.issues_failed) == (2, 0, "")
    assert undo_run(client, report.run).issues_removed == 2
    assert issues(client, task_id) == []


def test_keeps_the_first_of_two_equal_issues(client, task_id, faults, monkeypatch):
    """The first request is committed after the issues were read back, and before the second one."""
    sent = []
    send = Client.json

    def send_late(self, method, path, **options):
        if method == "POST":
            if len(sent) == 1:
                send(self, method, path, **sent[0])
            sent.append(options)
        return send(self, method, path, **options)

    monkeypatch.setattr(Client, "json", send_late)
    faults.set([{**OPENS, "fault": {"kind": "status", "status": 504}, "times": 1}])
    report = annotate_task(client, task_id, FUNCTION, open_issues=1)
    assert len(sent) == 2
    [issue] = list_issues(client, client.jobs(task_id)[0].id)
    recorded = read_run(report.run).jobs[issue.job]
    assert [number for kind, number in recorded.added if kind == "issues"] == [issue.id]
    assert report.issues_opened == 1


def test_next_run_opens_an_issue_that_failed(client, task_id, faults, monkeypatch):
    monkeypatch.setattr(review_issues, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    faults.set([{**OPENS, "fault": {"kind": "status", "status": 504}, "times": 1}])
    report = annotate_task(client, task_id, FUNCTION, open_issues=2)
    assert "504" in report.issues_failed
    assert issues(client, task_id) == []
    assert (report.issues_opened, report.added) == (0, 5)
    again = annotate_task(client, task_id, FUNCTION, open_issues=2)
    assert (again.issues_opened, again.issues_already_there) == (2, 0)
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 5]


@pytest.mark.parametrize("touch", [None, *TOUCHES], ids=str)
def test_removes_untouched_duplicates_of_earlier_runs(client, task_id, touch):
    annotate_task(client, task_id, FUNCTION, open_issues=1)
    job = client.jobs(task_id)[0].id
    [first] = list_issues(client, job)

    def open_issue(message):
        body = {"job": job, "frame": 0, "position": first.position, "message": message}
        return client.json("POST", "/api/issues", body=body)["id"]

    doubled = open_issue(first.messages[0])
    others = [open_issue(f"{MARK}something else"), open_issue("a human's"), open_issue("a human's")]
    if touch is not None:
        TOUCHES[touch](client, doubled)
    annotate_task(client, task_id, FUNCTION, open_issues=1)
    left = [first.id, *others] if touch is None else [first.id, doubled, *others]
    assert [issue.id for issue in list_issues(client, job)] == left


# --- undoing a run ---


def test_undo_removes_only_issues_of_its_run(client, task_id):
    before = annotate_task(client, task_id, FUNCTION, open_issues=1)
    job = client.jobs(task_id)[1].id
    body = {"job": job, "frame": 3, "position": [1, 2], "message": f"{MARK}is what I mean"}
    client.json("POST", "/api/issues", body=body)
    run = annotate_task(client, task_id, FUNCTION, open_issues=3)
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 3, 5, 4]

    dry = undo_run(client, run.run, dry_run=True)
    assert (dry.issues_removed, dry.issues_touched, len(issues(client, task_id))) == (2, 0, 4)
    assert "issues: 2 would be removed, 0 touched since and kept" in dry.lines()

    done = undo_run(client, run.run)
    assert (done.removed, done.gone, done.issues_removed, done.issues_touched) == (0, 0, 2, 0)
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 3]

    again = undo_run(client, run.run)
    assert (again.removed, again.gone, again.issues_removed) == (0, 0, 0)
    assert not any("issues" in line for line in again.lines())
    assert undo_run(client, before.run).issues_removed == 1
    assert [frame for _, frame, _ in issues(client, task_id)] == [3]


@pytest.mark.parametrize("touch", TOUCHES)
def test_undo_keeps_issues_that_were_changed(client, task_id, touch):
    run = annotate_task(client, task_id, FUNCTION, open_issues=2)
    [issue] = list_issues(client, client.jobs(task_id)[1].id)
    TOUCHES[touch](client, issue.id)
    done = undo_run(client, run.run)
    assert (done.removed, done.issues_removed, done.issues_touched) == (5, 1, 1)
    assert "issues: 1 removed, 1 touched since and kept" in done.lines()
    assert [frame for _, frame, _ in issues(client, task_id)] == [5]


@with_each_unknown_outcome
def test_undo_continues_after_a_request_with_an_unknown_result(client, task_id, faults, fault):
    run = annotate_task(client, task_id, FUNCTION, open_issues=2)
    faults.set([{"methods": ["DELETE"], "path": "/api/issues/", "fault": fault, "times": 3}])
    assert undo_run(client, run.run).issues_removed == 2
    assert faults.log()
    faults.wait()
    assert issues(client, task_id) == []


def records_of(run):
    """The file with the record of a run."""
    [file] = (Settings().runs_dir / run).glob("*.jsonl")
    return file


@pytest.mark.parametrize("when", ["before", "after"])
def test_undo_knows_the_issues_of_a_killed_run(client, task_id, faults, monkeypatch, when):
    class Killed(RetryPolicy):
        def delay(self, *_):
            raise KeyboardInterrupt

    faults.set([{**OPENS, "fault": {"kind": "status", "status": 504, "when": when}, "after": 1, "times": 1}])
    with monkeypatch.context() as patch:
        patch.setattr(review_issues, "RETRY", Killed())
        with pytest.raises(KeyboardInterrupt):
            annotate_task(client, task_id, FUNCTION, open_issues=2)
    run = recorded_runs()[0].run
    arrived = when == "after"
    assert undo_run(client, run, dry_run=True).issues_removed == 1 + arrived

    # another run opens the one that did not arrive, equal to the last letter
    other = annotate_task(client, task_id, FUNCTION, open_issues=2)
    assert other.issues_opened == 1 - arrived
    assert undo_run(client, run).issues_removed == 1 + arrived
    assert len(issues(client, task_id)) == 1 - arrived


def test_reads_records_that_end_anywhere(client, task_id):
    """Undo finds issues that were sent but not recorded as created, and leaves unrecorded ones alone."""
    run = annotate_task(client, task_id, FUNCTION, open_issues=2).run
    file = records_of(run)
    lines = file.read_bytes().splitlines(keepends=True)
    sent = [index for index, line in enumerate(lines) if b'"issues"' in line and b'"sent"' in line]
    assert len(sent) == 2
    for end in range(len(lines) + 1):
        file.write_bytes(b"".join(lines[:end]) or lines[0])
        known = sum(index < end for index in sent)
        assert undo_run(client, run, dry_run=True).issues_removed == known
    file.write_bytes(b"".join(line for line in lines if b'"issues"' not in line))
    done = undo_run(client, run)  # as of a run before issues were recorded
    assert (done.removed, done.issues_removed, len(issues(client, task_id))) == (5, 0, 2)


def test_opens_issues_for_broken_tracks(client, video_task):
    task_id = video_task(clip(range(12)))
    spec = DetectionFunctionSpec(labels=[label_spec("car", 7)])

    def until_frame_6(context, image):
        return [rectangle(7, [20, 20, 44, 40])] if number_on(image) <= 6 else []

    function = SimpleNamespace(spec=spec, detect=until_frame_6)
    report = track_task(client, task_id, function, open_issues=5, track_options=TrackOptions(min_length=1))
    assert report.issues_opened == 1
    [(_, frame, position)] = issues(client, task_id)
    assert (frame, position) == (6, pytest.approx([20, 20, 44, 40], abs=0.01))


FILE = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

def detect(context, image):
    return [rectangle(1, [1, 2, 11, 12], score=0.6)]
"""


def test_command_line_opens_issues_and_lists_frames_to_review(client, sandbox, task_id, tmp_path):
    (tmp_path / "cars.py").write_text(FILE)
    server = ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]
    options = ["--function-file", tmp_path / "cars.py", "--open-issues", 2, "--review-frames", 3]
    done = run_command_text(*server, "annotate", task_id, *options)
    assert done.returncode == 0, done.stderr
    first = client.jobs(task_id)[0].id
    told = [line for line in done.stdout.splitlines() if line.startswith("review frame")]
    assert [line.partition("(1 shape, lowest score 0.60): ")[2] for line in told] == [
        f"{sandbox.url}/tasks/{task_id}/jobs/{first}?frame={frame}" for frame in range(3)
    ]
    assert "issues: 2 opened\n" in done.stdout
    assert [(job, frame) for job, frame, _ in issues(client, task_id)] == [(first, 0), (first, 1)]

    [undo] = [line for line in done.stdout.splitlines() if line.startswith("to undo it: ")]
    done = run_command_text(*server, "undo", undo.split()[-1])
    assert done.returncode == 0, done.stderr
    assert "6 removed, 0 changed since and kept, 0 gone already\n" in done.stdout
    assert "issues: 2 removed, 0 touched since and kept\n" in done.stdout
    assert issues(client, task_id) == []
