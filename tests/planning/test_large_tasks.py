"""Tasks of many frames and shapes: planning takes linear time and bounded memory."""

import io
import json
import subprocess
import sys
import tracemalloc
from array import array
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat import Client
from prefect_cvat.cvat.data_meta import read_meta_json
from prefect_cvat.cvat.job_index import JobIndex
from prefect_cvat.evaluation.inputs.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.exceptions import ResponseTooLargeError
from prefect_cvat.export.annotation_source import read_from_server
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.frame_table import FrameMeta, FrameTable
from prefect_cvat.models import DataMeta, Job, Label, Task, ValidationLayout
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.batch_size import MAX_FRAMES, BatchSize
from prefect_cvat.planning.plan import PART_FRAMES, Plan, make_plan
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.planning.task_info import TaskInfo
from prefect_cvat.runs.original_shapes import OriginalShapes
from prefect_cvat.runs.refine_run import SOURCES
from scripted_server import Answer, scripted_server

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def measured(*arguments, benchmark="plan.py"):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / benchmark), "--json", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("chunk_size", [36, 10_000])
def test_a_million_images_are_planned_in_bounded_memory_and_batches(chunk_size):
    result = measured("--frames", 1_000_000, "--job-frames", 1000, "--chunk-size", chunk_size)
    assert result["frames"] == 1_000_000
    assert result["peak_mib"] < 300
    assert result["cpu_seconds"] < 30, "some 5 s alone on a machine; the bound leaves room for a busy one"
    assert result["largest_batch"] <= MAX_FRAMES
    assert result["batches"] == pytest.approx(1_000_000 / MAX_FRAMES, rel=0.1)


@pytest.mark.parametrize(
    "parts",
    [{"chunk_size": 1}, {"chunk_size": 10_000}, {"job_frames": 1}],
    ids=["chunks", "parts of chunks", "jobs"],
)
def test_planning_is_linear_in_chunks_and_jobs(parts):
    """Counted in the bytecode that runs, not in seconds."""
    small, large = (_instructions(frames, **parts) for frames in (2_000, 20_000))
    assert large < 15 * small


def _instructions(size, *, chunk_size=36, job_frames=1000):
    """How many lines of Python planning takes, with a look for the jobs of each batch."""
    info = task_info(size, chunk_size, job_frames)
    count = 0

    def trace(_frame, _event, _arg):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        plan = make_plan(info)
        for number, frames in plan.parts():
            plan.chunk_place(number)
            plan.jobs_between(frames[0].number, frames[-1].number)
            plan.frames_between(frames[0].number, frames[-1].number)
    finally:
        sys.settrace(before)
    return count


def task_info(size, chunk_size=36, job_frames=1000, through_jobs=False, labels=()):
    starts = range(0, size, job_frames)
    jobs = [
        Job(id=i + 1, task_id=1, start_frame=s, stop_frame=min(s + job_frames, size) - 1)
        for i, s in enumerate(starts)
    ]
    frames = [FrameMeta(f"{i}.png", 10, 10) for i in range(size)]
    return TaskInfo(
        task=Task(id=1, name="t", size=size, data_chunk_size=chunk_size),
        meta=DataMeta(chunk_size=chunk_size, size=size, frames=frames),
        jobs=tuple(jobs),
        labels=labels,
        validation=ValidationLayout(),
        through_jobs=through_jobs,
    )


@pytest.mark.parametrize("total", [10_000, 1_000_000, 10_000_000])
def test_batch_size_does_not_depend_on_the_task_size(total):
    size = BatchSize()
    size.learn(seconds=0.001, frames=100)
    assert size.max_frames(total) <= 1000


def test_batches_of_frames_with_many_shapes_are_smaller():
    size = BatchSize()
    size.learn(seconds=0.001, frames=10, annotations=10 * 500)
    size.learn(seconds=0.001, frames=10, annotations=0)
    assert size.max_frames(1_000_000) == 40


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=8),
    st.integers(0, 100),
    st.integers(0, 30),
)
def test_job_index_finds_the_same_jobs_as_a_linear_search(ranges, first, length):
    jobs = [Job(id=i, task_id=1, start_frame=s, stop_frame=s + n) for i, (s, n) in enumerate(ranges)]
    last = first + length
    expected = [job for job in jobs if job.start_frame <= last and job.stop_frame >= first]
    assert JobIndex(jobs).between(first, last) == expected


@given(st.sets(st.integers(0, 80)), st.integers(1, 9), st.booleans())
def test_frames_are_grouped_by_their_chunks_forward_and_backward(numbers, size, is_backward):
    table = FrameTable(FrameMeta(str(i), i, i) for i in range(81))
    frames = PlannedFrames(table, sorted(numbers))
    groups = [
        (chunk, [frame.number for frame in of_chunk])
        for chunk, of_chunk in frames.by(lambda number: number // size, is_backward=is_backward)
    ]
    by_chunk = {}
    for number in sorted(numbers):
        by_chunk.setdefault(number // size, []).append(number)
    assert groups == sorted(by_chunk.items(), reverse=is_backward)
    assert [frame.width for frame in frames] == sorted(numbers)


@given(
    st.lists(st.tuples(st.text(), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), max_size=6),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.lists(st.booleans()), max_size=4),
    st.sampled_from([None, 1]),
)
def test_streamed_meta_equals_parsed_json(frames, others, indent):
    objects = [{"name": name, "width": width, "height": height} for name, width, height in frames]
    text = json.dumps({**others, "frames": objects, "size": 3}, ensure_ascii=False, indent=indent)
    meta = read_meta_json(io.BytesIO(text.encode("utf-8", "surrogatepass")))
    assert [(frame.name, frame.width, frame.height) for frame in meta.pop("frames")] == frames
    others.pop("frames", None)
    assert meta == {**others, "size": 3}


@pytest.mark.parametrize("at", range(1, 60, 7))
def test_truncated_or_trailing_meta_json_is_refused(at):
    text = b'{"size": 1, "frames": [{"name": "a", "width": 1, "height": 2}], "chunk_size": 12}'
    for wrong in (
        text[:at],
        text + b"]",
        b"",
        b"\xff",
        text.replace(b'"size": 1,', b'"size": ' + b"[" * 100_000),
    ):
        with pytest.raises(ValueError, match="."):
            read_meta_json(io.BytesIO(wrong))


@given(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=8)), max_size=40), st.integers(1, 60))
def test_lines_are_read_from_disk_by_frame(entries, max_bytes):
    entries = [(frame, line.hex().encode()) for frame, line in entries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect_cvat.files.lines_by_frame.MAX_BYTES", max_bytes)
        lines = LinesByFrame()
        for frame, line in entries:
            lines.add(frame, line)
        assert list(lines.frames()) == sorted({frame for frame, _ in entries})
        for frame in range(301):
            expected = [line for other, line in entries if other == frame]
            assert lines.of(frame) == expected
            assert lines.has(frame) == bool(expected)


def test_refine_does_not_hold_the_shapes_of_a_task(monkeypatch):
    """100,000 masks of 1 kB: 100 MB, with few in memory at a time."""
    info = task_info(10_000)
    label = SimpleNamespace(id=1, name="car", type="any", attributes=[], sublabels=[])
    shape = {
        "id": 1,
        "type": "rectangle",
        "label_id": 1,
        "source": "auto",
        "points": [0, 0, 9, 9],
        "note": "x" * 1000,
    }

    def shapes(job_id):
        for frame in range(1000 * (job_id - 1), 1000 * job_id):
            for i in range(10):
                yield "shapes", {**shape, "id": frame * 10 + i, "frame": frame, "points": [i, 0, i + 5, 9]}

    plan = make_plan(info)
    plan = SimpleNamespace(
        info=SimpleNamespace(labels=[label], task=plan.task, jobs=plan.jobs, through_jobs=True),
        task=plan.task,
        jobs=plan.jobs,
        frames=plan.frames,
    )
    tracemalloc.start()
    try:
        originals = OriginalShapes(plan, RefineOptions(), SOURCES)
        originals.read(SimpleNamespace(iter_job_annotations=shapes))
        assert originals.counts() == {"car": 100_000}
        assert tracemalloc.get_traced_memory()[1] < 15e6
    finally:
        tracemalloc.stop()
    assert originals.jobs == set(range(1, 11))


@pytest.mark.parametrize("left_by_runs", [False, True])
def test_export_does_not_hold_the_annotations_of_a_task(tmp_path, left_by_runs):
    shape = {"label_id": 1, "type": "rectangle", "source": "auto", "points": [1.5, 2.5, 9.5, 9.5]}
    shapes = [{**shape, "id": number, "frame": number // 10} for number in range(30_000)]
    body = json.dumps({"tags": [], "shapes": shapes, "tracks": []}).encode()
    plan = make_plan(task_info(3000, labels=(Label(id=1, name="car", type="any"),)))
    del shapes
    with scripted_server(Answer(body=body)) as server, Client(server.url, access_token="x") as client:
        tracemalloc.start()
        try:
            found = read_from_server(
                client,
                plan,
                Options(),
                left_by_runs=left_by_runs,
                images=None,
                scratch=tmp_path,
                progress=None,
            )
            count = sum(len(batch) for batch in found.batches)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == 30_000
    assert peak < 15e6


def test_evaluation_does_not_hold_the_shapes_of_a_task():
    """Each side has 40,000 boxes; 600,000 take less than 300 MiB, see docs/security.md."""
    result = measured("--frames", 4000, "--shapes", 40_000, benchmark="evaluation_memory.py")
    assert (result["frames"], result["truth"]) == (4000, 40_000)
    assert result["true_positives"] + result["false_positives"] == 40_000
    assert result["peak_mib"] - result["imported_mib"] < 60


def test_a_frame_with_too_many_shapes_is_not_compared_and_is_named():
    shapes = AnnotationsByFrame()
    for frame in (3, 4):
        for _ in range(20_000 + (frame == 4)):
            shapes.add({"frame": frame, "label_id": 1, "type": "rectangle", "points": [0.0, 0.0, 1.0, 1.0]})
    assert len(shapes.of(3)) == 20_000
    with pytest.raises(ResponseTooLargeError, match="frame 4 has 20001 annotations .* the maximum is 20000"):
        shapes.of(4)


def test_selection_by_frames_and_jobs_of_a_large_task():
    info = task_info(1000, job_frames=100)
    plan = make_plan(info, Selection(frames=range(50, 950, 3), jobs=[2, 5]))
    expected = [n for n in range(50, 950, 3) if 100 <= n < 200 or 400 <= n < 500]
    assert plan.frames.numbers == array("I", expected)
    assert isinstance(plan, Plan)
    assert [frame.name for frame in plan.frames[:2]] == ["101.png", "104.png"]


@given(
    chunk_size=st.integers(1, 350),
    numbers=st.sets(st.integers(0, 999)),
    jobs_alone=st.booleans(),
    job_frames=st.integers(120, 1000),
)
def test_parts_are_bounded_within_a_chunk_and_independent_of_the_selection(
    chunk_size, numbers, jobs_alone, job_frames
):
    info = task_info(1000, chunk_size, job_frames, through_jobs=jobs_alone)
    whole = make_plan(info)
    plan = make_plan(info, Selection(frames=numbers))
    parts = list(plan.parts())
    assert [frame.number for _, frames in parts for frame in frames] == sorted(numbers)
    for chunk, frames in parts:
        assert 0 < len(frames) <= PART_FRAMES
        assert {plan.chunk_number(frame.number) for frame in frames} == {chunk}
        of_whole = whole.numbers_with(frames[0].number)
        assert [number for number in of_whole if number in numbers] == [frame.number for frame in frames]
    if chunk_size <= PART_FRAMES:
        assert [(n, list(f)) for n, f in parts] == [(n, list(f)) for n, f in plan.chunks()]
