import pytest

from prefect_cvat.models import DataMeta, FrameMeta, Job, Task, ValidationLayout
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.plan import ExclusionReason, TaskInfo, make_plan


def task_info(size=10, chunk_size=4, jobs=None, deleted=(), validation=None):
    jobs = jobs or [Job(id=1, task_id=1, start_frame=0, stop_frame=size - 1)]
    return TaskInfo(
        task=Task(id=1, name="t", size=size, data_chunk_size=chunk_size),
        meta=DataMeta(
            chunk_size=chunk_size,
            size=size,
            frames=[FrameMeta(name=f"{i}.png", width=10, height=10) for i in range(size)],
            deleted_frames=list(deleted),
        ),
        jobs=tuple(jobs),
        labels=(),
        validation=validation or ValidationLayout(),
    )


def job(job_id, first, last, job_type="annotation"):
    return Job(id=job_id, task_id=1, start_frame=first, stop_frame=last, type=job_type)


def test_all_frames_are_in_whole_chunks_except_the_last():
    plan = make_plan(task_info())
    assert [(number, [f.number for f in frames]) for number, frames in plan.chunks()] == [
        (0, [0, 1, 2, 3]),
        (1, [4, 5, 6, 7]),
        (2, [8, 9]),
    ]
    assert [plan.chunk_place(number).length for number in range(3)] == [4, 4, 2]


def test_chunks_without_selected_frames_are_not_fetched():
    plan = make_plan(task_info(), Selection(frames=[1, 9]))
    assert [number for number, _ in plan.chunks()] == [0, 2]


def test_ground_truth_pool_and_honeypots_are_left_out_and_their_job_is_not_written():
    jobs = [job(1, 0, 3), job(2, 4, 7), job(3, 8, 9, "ground_truth")]
    layout = ValidationLayout(mode="gt_pool", validation_frames=[8, 9], honeypot_frames=[2, 5])
    plan = make_plan(task_info(jobs=jobs, validation=layout))
    assert [frame.number for frame in plan.frames] == [0, 1, 3, 4, 6, 7]
    assert plan.excluded == {ExclusionReason.HONEYPOT: (2, 5), ExclusionReason.GROUND_TRUTH: (8, 9)}
    assert [job.id for job in plan.jobs] == [1, 2]


def test_a_separate_ground_truth_job_and_replicas_are_not_written():
    jobs = [job(1, 0, 9), job(2, 0, 9, "ground_truth"), job(3, 0, 9, "consensus_replica")]
    layout = ValidationLayout(mode="gt", validation_frames=[3])
    plan = make_plan(task_info(jobs=jobs, validation=layout))
    assert len(plan.frames) == 10
    assert [job.id for job in plan.jobs] == [1]


def test_frames_without_job_deleted_or_unselected_are_left_out_with_the_reason():
    jobs = [job(1, 0, 3), job(2, 3, 6)]
    plan = make_plan(task_info(jobs=jobs, deleted=[1]), Selection(jobs=[2]))
    assert [frame.number for frame in plan.frames] == [3, 4, 5, 6]
    assert plan.excluded == {
        ExclusionReason.NOT_SELECTED: (0, 2),
        ExclusionReason.DELETED: (1,),
        ExclusionReason.NO_JOB: (7, 8, 9),
    }


def test_jobs_of_a_range_of_frames():
    plan = make_plan(task_info(jobs=[job(1, 0, 4), job(2, 3, 9)]))
    assert [j.id for j in plan.jobs_between(0, 2)] == [1]
    assert [j.id for j in plan.jobs_between(2, 3)] == [1, 2]


@pytest.mark.parametrize("selection", [Selection(frames=[10]), Selection(frames=[-1]), Selection(jobs=[5])])
def test_selection_of_missing_frames_or_jobs_is_refused(selection):
    with pytest.raises(ValueError, match="it has no"):
        make_plan(task_info(), selection)
