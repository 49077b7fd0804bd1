"""Search for tasks to annotate, in the sandbox over HTTP; shards of large tasks."""

from datetime import UTC, datetime, timedelta

import pytest

from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation.loading import load_function_module
from prefect_cvat.exceptions import NotFoundError, OrganizationError
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.planning.task_search import TaskSelection, find_tasks, has_unannotated_frames
from prefect_cvat.review.frame_ranking import FrameReview
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.runs.shards import make_shards, merge_reports
from prefect_cvat.sandbox import Sandbox


@pytest.fixture
def sandbox():
    """A server with only the tasks of the test: the search reads all tasks."""
    with Sandbox() as server:
        yield server


@pytest.fixture
def names(client):
    """Searches tasks; returns their names."""

    def ask(**selection):
        return [found.task.name for found in find_tasks(client, TaskSelection(**selection), all_tasks=True)]

    return ask


def rename(client, task_id, name):
    client._transport.json("PATCH", f"/api/tasks/{task_id}", body={"name": name})


def test_tasks_are_found_by_name_status_time_and_assignee(client, make_task, names):
    old, night, day = (make_task(2) for _ in range(3))
    for task_id, name in ((old, "old"), (night, "night-1"), (day, "day-1")):
        rename(client, task_id, name)
    assert names() == ["old", "night-1", "day-1"]
    assert names(name_pattern="night-?") == ["night-1"]
    since = client.task(night).updated_date
    assert names(updated_since=since) == ["night-1", "day-1"]
    assert names(updated_since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert len(names(updated_within_days=1)) == 3
    [job] = client.jobs(day)
    client._transport.json("PATCH", f"/api/jobs/{job.id}", body={"stage": "acceptance", "state": "completed"})
    assert names(statuses=["completed"]) == ["day-1"]
    assert names(statuses=["annotation", "validation"]) == ["old", "night-1"]
    user = client.user()
    client._transport.json("PATCH", f"/api/tasks/{old}", body={"assignee_id": user.id})
    assert names(assignee=user.username) == ["old"]
    assert names(assignee="nobody") == []


def test_missing_project_does_not_select_all_projects(client, make_task):
    make_task(1)
    with pytest.raises(ValueError, match=r"no project is given; set project_id.* or all_tasks=True"):
        find_tasks(client, TaskSelection())
    with pytest.raises(ValueError, match="project_id=1 and all_tasks=True contradict each other"):
        find_tasks(client, TaskSelection(), 1, all_tasks=True)


def test_empty_project_has_no_tasks_and_missing_project_is_an_error(client, sandbox):
    empty = client.json("POST", "/api/projects", body={"name": "empty", "labels": []})["id"]
    assert list(find_tasks(client, TaskSelection(), empty)) == []
    with pytest.raises(NotFoundError):
        list(find_tasks(client, TaskSelection(), empty + 1))
    client.json("POST", "/api/organizations", body={"slug": "others"})
    with Client(sandbox.url, organization="others") as elsewhere:
        elsewhere.login((sandbox.user, sandbox.password))
        with pytest.raises(
            OrganizationError, match=f"project {empty} is in no organization, not in 'others'"
        ):
            list(find_tasks(elsewhere, TaskSelection(), empty))


def test_only_jobs_that_match_are_annotated(client, make_task):
    task_id = make_task(6, segment_size=2)
    first, second, _ = client.jobs(task_id)
    client._transport.json("PATCH", f"/api/jobs/{first.id}", body={"state": "in progress"})
    client._transport.json("PATCH", f"/api/jobs/{second.id}", body={"stage": "validation"})

    def jobs(**selection):
        return [
            item.jobs
            for item in find_tasks(client, TaskSelection(**selection), all_tasks=True)
            if item.task.id == task_id
        ]

    assert jobs() == [None]
    assert jobs(job_states=["in progress"]) == [(first.id,)]
    assert jobs(job_stages=["validation"]) == [(second.id,)]
    assert jobs(job_states=["in progress"], job_stages=["validation"]) == []


def test_tasks_that_cannot_be_annotated_are_reported(client, names):
    task = client.create_task("empty", [])
    reasons = {}
    empty = TaskSelection(name_pattern="empty")

    def report(skipped, reason):
        reasons[skipped.id] = reason

    assert list(find_tasks(client, empty, all_tasks=True, on_skipped=report)) == []
    assert "('empty') has no data yet" in reasons[task.id]


def test_tasks_that_are_done_are_not_read(client, make_task, names):
    done, other = make_task(1), make_task(1)
    for task_id in (done, other):
        rename(client, task_id, "is it done")
    found = find_tasks(
        client,
        TaskSelection(name_pattern="is it done"),
        all_tasks=True,
        is_done=lambda task: task.id == done,
        on_skipped=lambda task, reason: pytest.fail(reason),
    )
    assert [each.task.id for each in found] == [other]


def test_unannotated_frames_are_counted_without_excluded_ones(client, make_task, names):
    task_id = make_task(4)
    rename(client, task_id, "half")
    annotate_task(client, task_id, load_function_module("flow_functions.one_box"), frames=[0, 1])
    plan = make_plan(read_task(client, task_id))
    assert has_unannotated_frames(client, plan, plan.jobs[0])
    assert names(with_unannotated_frames=True) == ["half"]
    client._transport.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [2, 3]})
    assert names(with_unannotated_frames=True) == []


def test_a_track_is_on_the_frames_between_its_keyframes(client, make_task):
    task_id = make_task(4)
    plan = make_plan(read_task(client, task_id))
    [job] = plan.jobs
    keyframes = [
        {
            "type": "rectangle",
            "frame": frame,
            "points": [1, 1, 9, 9],
            "outside": False,
            "occluded": False,
            "attributes": [],
        }
        for frame in (0, 3)
    ]
    track = {"frame": 0, "label_id": client.labels(task_id)[0].id, "shapes": keyframes, "attributes": []}
    client.create_job_annotations(job.id, {"tracks": [track]})
    assert not has_unannotated_frames(client, plan, job)


def test_shards_are_whole_jobs_of_about_shard_frames(client, make_task):
    task_id = make_task(9, segment_size=2)
    plan = make_plan(read_task(client, task_id))
    ids = [job.id for job in plan.jobs]
    assert make_shards(plan, None, 4) == [tuple(ids[:2]), tuple(ids[2:4]), (ids[4],)]
    assert make_shards(plan, None, 1) == [(job,) for job in ids]
    assert make_shards(plan, None, 100) == [tuple(ids)]
    assert make_shards(plan, ids[1:3], 3) == [(ids[1],), (ids[2],)]


def test_reports_of_shards_add_up():
    def report(**fields):
        return RunReport(task_id=1, task_name="t", url="u", function="f", started=datetime.now(UTC), **fields)

    merged = merge_reports(
        report(left_out={"deleted": 2}),
        [
            report(
                frames=3, labels={"car": 2}, added=2, scores={"car": [1, 1]}, left_out={"not selected": 9}
            ),
            report(
                frames=4, labels={"car": 1, "cat": 1}, added=1, scores={"car": [0, 1]}, frame_errors={5: "x"}
            ),
        ],
        review_frames=0,
    )
    assert (merged.frames, merged.added, merged.labels) == (7, 3, {"car": 3, "cat": 1})
    assert (merged.scores, merged.frame_errors) == ({"car": [1, 2]}, {5: "x"})
    assert merged.left_out == {"deleted": 2}


def test_frames_to_review_are_ranked_over_several_tasks():
    def report(*works):
        review = [
            FrameReview(frame=frame, job_id=1, url="u", expected_corrections=work, reasons=["r"])
            for frame, work in works
        ]
        return RunReport(
            task_id=1, task_name="t", url="u", function="f", started=datetime.now(UTC), review=review
        )

    def first(*reports, most):
        merged = merge_reports(report(), reports, most)
        return [(item.frame, item.expected_corrections) for item in merged.review]

    shards = report((4, 2.0), (3, 0.5)), report((4, 1.5), (9, 0.7))
    assert first(*shards, most=2) == [(4, 2.0), (9, 0.7)]
    assert first(*shards, most=9) == [(4, 2.0), (9, 0.7), (3, 0.5)]
    assert first(*reversed(shards), most=9) == first(*shards, most=9)
    assert first(report(), report(), most=9) == []
