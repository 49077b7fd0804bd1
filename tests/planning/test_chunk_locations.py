"""Which chunk of the task or of its jobs provides a frame."""

from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.models import Job
from prefect_cvat.planning.chunk_locations import ChunkPlace, JobChunks, TaskChunks


def job(number, first, last):
    return Job(id=number, task_id=1, start_frame=first, stop_frame=last)


def test_chunks_of_a_task_span_jobs():
    chunks = TaskChunks(10, 4)
    assert [chunks.number_of(frame) for frame in (0, 3, 4, 9)] == [0, 0, 1, 2]
    assert chunks.place(2) == ChunkPlace(8, 2, 2)


def test_chunks_of_jobs_begin_with_the_job_and_a_shared_frame_is_taken_from_the_first():
    chunks = JobChunks([job(12, 18, 25), job(11, 5, 10), job(13, 24, 27)], 4)
    frames = [*range(5, 11), *range(18, 28)]
    assert [chunks.number_of(frame) for frame in frames] == [0] * 4 + [1] * 2 + [2] * 4 + [3] * 4 + [4] * 2
    assert [chunks.place(number) for number in range(5)] == [
        ChunkPlace(5, 4, 0, 11),
        ChunkPlace(9, 2, 1, 11),
        ChunkPlace(18, 4, 0, 12),
        ChunkPlace(22, 4, 1, 12),
        ChunkPlace(24, 4, 0, 13),
    ]


def test_a_job_within_another_gives_no_chunks():
    chunks = JobChunks([job(11, 0, 9), job(12, 3, 6)], 5)
    assert [chunks.place(chunks.number_of(frame)).job for frame in range(10)] == [11] * 10


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_each_frame_of_the_jobs_is_in_its_chunk_and_the_numbers_ascend(ranges, size):
    jobs = [job(number, first, first + length) for number, (first, length) in enumerate(ranges, start=1)]
    chunks = JobChunks(jobs, size)
    frames = sorted({frame for job in jobs for frame in range(job.start_frame, job.stop_frame + 1)})
    numbers = [chunks.number_of(frame) for frame in frames]
    assert numbers == sorted(numbers)
    for frame, number in zip(frames, numbers, strict=True):
        place = chunks.place(number)
        of = next(job for job in jobs if job.id == place.job)
        assert place.first_frame <= frame < place.first_frame + place.length <= of.stop_frame + 1
        assert place.first_frame == of.start_frame + place.index * size
