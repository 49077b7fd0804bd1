"""Issues that a run opens on the frames it is least sure of: once, and only its own."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from clips import clip, number_on
from prefect_cvat import TrackOptions, annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.issues import MARK, list_comments, list_issues
from prefect_cvat.report_markdown import escape, render_markdown
from prefect_cvat.sandbox import issues as sandbox_issues
from prefect_cvat.sandbox.exchange import forbidden

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


def detect(context, image):
    """The later the frame, the less sure; nothing on frame 0."""
    number = int(context.frame_name.split(".")[0])
    return [rectangle(7, [1, 2, 11, 12], score=1 - 0.1 * number)] if number else []


FUNCTION = SimpleNamespace(spec=SPEC, detect=detect)


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


def test_issues_are_opened_where_the_doubt_is(client, task_id):
    report = annotate_task(client, task_id, FUNCTION, open_issues=2)
    first, second = (job.id for job in client.jobs(task_id))
    assert issues(client, task_id) == [(first, 0, [0, 0, 64, 48]), (second, 5, [1, 2, 11, 12])]
    messages = [comment.message for job in (first, second) for comment in list_comments(client, job)]
    assert messages == [
        f"{MARK}nothing found, as on 1 of 6 frames (expected corrections: 0.83)",
        f"{MARK}1 shape, the least score 0.50 (expected corrections: 0.50)",
    ]
    assert (report.issues_opened, report.issues_already_there, report.issues_failed) == (2, 0, "")
    assert "issues: 2 opened" in report.lines()
    assert len(report.review) == 6


def test_none_are_opened_unless_asked_for(client, task_id):
    report = annotate_task(client, task_id, FUNCTION)
    assert issues(client, task_id) == []
    assert report.issues_opened == 0
    with pytest.raises(ValueError, match="open_issues must be 0 or more, not -1"):
        annotate_task(client, task_id, FUNCTION, open_issues=-1)


def test_they_need_no_frames_in_the_report(client, task_id):
    report = annotate_task(client, task_id, FUNCTION, open_issues=1, review_frames=0)
    assert (len(issues(client, task_id)), report.review) == (1, [])


def test_no_frame_gets_a_second_one(client, task_id):
    annotate_task(client, task_id, FUNCTION, open_issues=2)
    report = annotate_task(client, task_id, FUNCTION, open_issues=3)
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 5, 4]
    assert (report.issues_opened, report.issues_already_there) == (1, 2)
    assert "issues: 1 opened, 2 there already" in report.lines()


def test_one_that_a_human_has_resolved_is_not_opened_anew(client, task_id):
    annotate_task(client, task_id, FUNCTION, open_issues=1)
    [issue] = list_issues(client, client.jobs(task_id)[0].id)
    client.json("PATCH", f"/api/issues/{issue.id}", body={"resolved": True})
    report = annotate_task(client, task_id, FUNCTION, open_issues=1)
    assert (report.issues_opened, report.issues_already_there) == (0, 1)
    assert len(issues(client, task_id)) == 1


def test_issues_of_humans_do_not_count_and_stay_as_they_are(client, sdk, task_id):
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


def test_those_of_more_than_one_page_are_all_seen(client, task_id):
    job = client.jobs(task_id)[1].id
    for number in range(105):
        body = {"job": job, "frame": 3, "position": [1, 2], "message": f"{MARK}{number}"}
        client.json("POST", "/api/issues", body=body)
    assert [comment.message for comment in list_comments(client, job)] == [f"{MARK}{n}" for n in range(105)]
    assert len(list_issues(client, job)) == 105


def test_a_run_whose_issues_are_refused_has_not_failed_and_says_so(client, task_id):
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
    "fault", [{"kind": "reset", "when": "after"}, {"kind": "status", "status": 504, "when": "after"}]
)
def test_one_whose_answer_was_lost_is_not_opened_twice(client, sandbox, task_id, fault):
    sandbox.faults.set([{"methods": ["POST"], "path": "/api/issues", "fault": fault, "times": 1}])
    try:
        report = annotate_task(client, task_id, FUNCTION, open_issues=2)
        assert len(sandbox.faults.log()) == 1
    finally:
        sandbox.faults.clear()
    assert report.issues_failed
    assert [frame for _, frame, _ in issues(client, task_id)] == [0]
    report = annotate_task(client, task_id, FUNCTION, open_issues=2)
    assert (report.issues_opened, report.issues_already_there) == (1, 1)
    assert [frame for _, frame, _ in issues(client, task_id)] == [0, 5]


def test_tracks_that_break_get_issues_too(client, video_task):
    task_id = video_task(clip(range(12)))
    spec = DetectionFunctionSpec(labels=[label_spec("car", 7)])

    def until_frame_6(context, image):
        return [rectangle(7, [20, 20, 44, 40])] if number_on(image) <= 6 else []

    function = SimpleNamespace(spec=spec, detect=until_frame_6)
    report = track_task(client, task_id, function, open_issues=5, tracking=TrackOptions(min_length=1))
    assert report.issues_opened == 1
    [(_, frame, position)] = issues(client, task_id)
    assert (frame, position) == (6, pytest.approx([20, 20, 44, 40], abs=0.01))


FILE = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

def detect(context, image):
    return [rectangle(1, [1, 2, 11, 12], score=0.6)]
"""


def test_the_command_line_opens_issues_and_says_what_to_look_at(client, sandbox, task_id, tmp_path):
    (tmp_path / "cars.py").write_text(FILE)
    command = [
        *(sys.executable, "-m", "prefect_cvat", "--server-host", sandbox.url),
        *("--auth", f"{sandbox.user}:{sandbox.password}", "annotate", str(task_id)),
        *("--function-file", str(tmp_path / "cars.py"), "--open-issues", "2", "--review-frames", "3"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    first = client.jobs(task_id)[0].id
    told = [line for line in done.stdout.splitlines() if line.startswith("look first")]
    assert [line.partition("(1 shape, the least score 0.60): ")[2] for line in told] == [
        f"{sandbox.url}/tasks/{task_id}/jobs/{first}?frame={frame}" for frame in range(3)
    ]
    assert "issues: 2 opened\n" in done.stdout
    assert [(job, frame) for job, frame, _ in issues(client, task_id)] == [(first, 0), (first, 1)]
