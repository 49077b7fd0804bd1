"""Frames to review after flow runs: issues in CVAT, a table in Prefect, the report."""

import pytest
from prefect.artifacts import Artifact

from clips import clip
from prefect_cvat import TrackOptions, undo_run
from prefect_cvat.cvat.issues import list_issues
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.track_task import track_task
from prefect_cvat.options.execution_options import ReviewOptions

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.less_sure"


@pytest.fixture(autouse=True)
def _functions_are_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def issues(client, task_id):
    """The jobs and frames of the issues of a task, by job, in the order of opening."""
    return [(issue.job, issue.frame) for job in client.jobs(task_id) for issue in list_issues(client, job.id)]


def review_table(task_id):
    """The rows of the table of frames in the last report that Prefect shows of a task, and what follows it."""
    _, _, rest = Artifact.get(f"report-task-{task_id}").data.partition("## Frames to review first\n\n")
    table, _, rest = rest.partition("\n\n")
    return table.splitlines()[2:], rest.partition("\n\n")[0]


def row(client, task_id, job, frame, work, why):
    """A row of that table."""
    return f"| [{frame}](<{client.url}/tasks/{task_id}/jobs/{job}?frame={frame}>) | {work} | {why} |"


def test_opens_issues_and_reports_frames_to_review(credentials, client, make_task):
    task_id = make_task(6, segment_size=3)
    first, second = (job.id for job in client.jobs(task_id))
    review = ReviewOptions(open_issues=2, review_frames=3)

    report = annotate_task(task_id, credentials, function=FUNCTION, review=review)

    assert issues(client, task_id) == [(first, 0), (second, 5)]
    assert (report.issues_opened, report.issues_already_there, report.issues_failed) == (2, 0, "")
    assert [item.frame for item in report.review] == [0, 5, 4]
    rows, told = review_table(task_id)
    assert rows == [
        row(client, task_id, first, 0, "0.83", "nothing detected\\, as on 1 of 6 frames"),
        row(client, task_id, second, 5, "0.25", "1 shape\\, lowest score 0\\.75"),
        row(client, task_id, second, 4, "0.20", "1 shape\\, lowest score 0\\.80"),
    ]
    assert told == "Issues opened in CVAT: 2."

    again = annotate_task(task_id, credentials, function=FUNCTION, review=review)

    assert (again.issues_opened, again.issues_already_there) == (0, 2)
    assert issues(client, task_id) == [(first, 0), (second, 5)]
    assert review_table(task_id) == (rows, "Issues opened in CVAT: 0; 2 existed already.")

    done = undo_run(client, report.run)
    assert (done.removed, done.issues_removed, issues(client, task_id)) == (5, 2, [])


def test_opens_no_issues_by_default(credentials, client, make_task):
    task_id = make_task(3)
    report = annotate_task(
        task_id, credentials, function=FUNCTION, review=ReviewOptions(open_issues=0, review_frames=1)
    )
    assert (issues(client, task_id), report.issues_opened, len(review_table(task_id)[0])) == ([], 0, 1)


def test_shards_open_issues_on_most_uncertain_frames_of_the_task(credentials, client, make_task):
    task_id = make_task(12, segment_size=3)
    first, *_, last = (job.id for job in client.jobs(task_id))
    review = ReviewOptions(open_issues=3, review_frames=5)

    report = annotate_shards(task_id, credentials, shard_frames=3, function=FUNCTION, review=review)

    assert issues(client, task_id) == [(first, 0), (last, 11), (last, 10)]
    assert (report.issues_opened, report.issues_already_there, report.issues_failed) == (3, 0, "")
    assert [item.frame for item in report.review] == [0, 11, 10, 9, 8]
    rows, told = review_table(task_id)
    assert len(rows) == 5
    assert rows[:2] == [
        row(client, task_id, first, 0, "0.67", "nothing detected\\, as on 1 of 3 frames"),
        row(client, task_id, last, 11, "0.55", "1 of 1 shape below 0\\.5"),
    ]
    assert told == "Issues opened in CVAT: 3."

    again = annotate_shards(
        task_id, credentials, shard_frames=6, function=FUNCTION, review=ReviewOptions(open_issues=4)
    )
    assert (again.issues_opened, again.issues_already_there) == (1, 3)
    assert len(again.review) == 12
    assert issues(client, task_id) == [(first, 0), (last, 11), (last, 10), (last, 9)]

    done = undo_run(client, report.run)
    assert (done.removed, done.issues_removed) == (11, 3)
    assert undo_run(client, again.run).issues_removed == 1
    assert issues(client, task_id) == []


def test_opens_issues_on_broken_tracks(credentials, client, video_task):
    task_id = video_task(clip(range(12)))
    [job] = client.jobs(task_id)
    review = ReviewOptions(open_issues=5)
    options = {"function": "flow_functions.gone", "track_options": TrackOptions(min_length=1)}

    report = track_task(task_id, credentials, review=review, **options)

    assert (report.tracks, report.issues_opened) == ({"car": 1}, 1)
    assert issues(client, task_id) == [(job.id, 6)]
    rows, told = review_table(task_id)
    assert rows == [row(client, task_id, job.id, 6, "1.00", "track ends here\\: car")]
    assert told == "Issues opened in CVAT: 1."
    again = track_task(task_id, credentials, review=review, **options)
    assert (again.issues_opened, again.issues_already_there, len(issues(client, task_id))) == (0, 1, 1)
