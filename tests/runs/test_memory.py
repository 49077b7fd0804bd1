"""Bytes of memory per frame or annotation, each measured in a process of its own."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.annotations.annotations_by_frame import _part
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.number_set import NumberSet
from prefect_cvat.records.annotation_index import (
    AnnotationIds,
    IdentityIndex,
    StoredIndex,
    StoredMap,
    StoredRecords,
)
from prefect_cvat.runs.reports.frame_and_annotation_counts import MAX_FRAME_ERRORS, count_failed
from prefect_cvat.runs.reports.report_model import RunReport

MEASURE = """
import re, tempfile
from pathlib import Path
from types import SimpleNamespace

def peak_mib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def rectangle(number, frame, source="auto"):
    return {"id": number, "type": "rectangle", "frame": frame, "label_id": 1, "source": source,
            "points": [number % 640, 1, number % 640 + 9, 9 + number // 640]}
"""

JOB = """
import json
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.models import Job, LabeledData
from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.upload.job_writer import JobWriter

def measure(n):
    state = SimpleNamespace(removed=0, last=n)

    def standing(_):
        for number in range(state.removed + 1, state.last + 1):
            # of what is there before, few are to be replaced
            yield "shapes", rectangle(number, number // 10, "manual" if 2000 < number <= n else "auto")

    def create(_, body):
        shapes = json.loads(body)["shapes"]
        first, state.last = state.last + 1, state.last + len(shapes)
        return LabeledData(shapes=[{**each, "id": first + i} for i, each in enumerate(shapes)])

    def delete(_, body):
        state.removed += len(json.loads(body)["shapes"])

    client = SimpleNamespace(
        iter_job_annotations=standing, create_job_annotations=create, delete_job_annotations=delete,
        job=lambda _: SimpleNamespace(updated_date=(state.removed, state.last)),
    )
    with tempfile.TemporaryDirectory() as folder:
        job = Job(id=1, task_id=1, start_frame=0, stop_frame=n // 5)
        writer = JobWriter(client, job, Path(folder), existing=Existing.REPLACE_AUTO)
        writer.read_baseline()
        for first in range(n, 2 * n, 1000):
            part = [rectangle(number + 1, (number + 1) // 10) for number in range(first, first + 1000)]
            writer.write(first, map(serialize, part), range(first // 10, first // 10 + 100))
        writer.write("covered", (), range(n // 5 + 1))
        writer.finish()
    assert (writer.added, writer.removal.removed) == (n, 2000), (writer.added, writer.removal.removed)
    return 2 * n
"""

REFINED = """
from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.upload.job_ledger import JobLedger

def measure(n):
    def mask(number):
        return {**rectangle(number, number // 10), "type": "mask", "points": [0, 4, number % 640, 1, number % 640 + 1, 2]}

    with tempfile.TemporaryDirectory() as folder:
        ledger = JobLedger(Path(folder), 1, ["auto"], {}, recognizes_refined=True)
        ledger.read_baseline((("shapes", mask(number)) for number in range(n)), lambda _: False)
        [left] = ledger.want(map(serialize, [rectangle(5, 0), rectangle(400, 1)]))
        assert left.body.frame == 1
    return n
"""

TRACKS = """
import json
from prefect_cvat.frame_table import FrameMeta, FrameTable
from prefect_cvat.annotations.annotations_by_frame import AnnotationsByFrame
from prefect_cvat.annotations.existing_annotations import ExistingAnnotations
from prefect_cvat.cvat.job_index import JobIndex
from prefect_cvat.models import Job
from prefect_cvat.planning.planned_frames import PlannedFrames

def measure(n):
    length = 10_000
    frames = PlannedFrames(FrameTable([FrameMeta("a", 640, 480)]), range(length))
    jobs = [Job(id=1, task_id=1, start_frame=0, stop_frame=length - 1)]
    plan = SimpleNamespace(frames=frames, jobs=jobs, jobs_between=JobIndex(jobs).between)

    def tracks(_):
        for number in range(n // 1000):
            shapes = [{"type": "rectangle", "frame": frame, "points": [number, 0, number + 9, 9],
                       "outside": False, "rotation": 0.0, "attributes": []} for frame in range(0, length, 10)]
            yield "tracks", {"id": number, "frame": 0, "label_id": 1, "source": "manual", "shapes": shapes}

    annotations = AnnotationsByFrame(SimpleNamespace(iter_job_annotations=tracks), plan)
    existing = ExistingAnnotations(annotations, 0.5)
    batch = SimpleNamespace(frames=frames[5000:5010])
    annotations.read(batch)
    found = existing.take(batch)
    assert found[5003].include(rectangle(1, 5003)) and not found[5003].include(rectangle(630, 5003))
    return n
"""

NAMES = """
from prefect_cvat.export.frame_file_names import FileNames
from prefect_cvat.frame_table import FrameMeta, FrameTable
from prefect_cvat.planning.planned_frames import PlannedFrames

def measure(n):
    table = FrameTable(FrameMeta(f"camera_1/image_{i:07}.jpg", 640, 480) for i in range(n))
    frames = PlannedFrames(table, range(n))
    names = FileNames(frames, of_video=False)
    assert next(names.changed(frames), None) is None
    return n
"""

ENDED_TRACKS = """
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.review.track_uncertainty import TrackCollector
from prefect_cvat.review.uncertainty import Uncertainty

def measure(n):
    collector = TrackCollector(TrackOptions(max_gap=2, min_length=1))
    for frame in range(n // 10):
        box = float(frame), 1.0, 2.0, 3.0
        collector.add(frame, [(frame * 10 + i, Uncertainty(1, 0.5 + i / 100, box)) for i in range(10)])
    collector.finish()
    assert collector.frames == n
    return n
"""

RECORD = """
import json, os
from prefect_cvat.records.record_reader import RecordedJob, _Line

def measure(n):
    job = RecordedJob()
    for first in range(0, n, 1000):
        ids = [(number, f"{number:024x}") for number in range(first, first + 1000)]
        sent = json.dumps({"job": 1, "after": {"shapes": 0}, "sent": [told for _, told in ids]})
        job.take(_Line.model_validate_json(sent))
        job.take(_Line.model_validate_json(json.dumps({"job": 1, "added": {"shapes": ids}})))
    assert not job.is_unsettled and len(job.added) == n
    assert job.added[("shapes", 77)] == f"{77:024x}"
    return n
"""

SOURCE_SHAPES = """
from PIL import Image
from prefect_cvat.frame_table import FrameMeta, FrameTable
from prefect_cvat.models import Job, Label
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.tracking.shape_tracking_pass import TrackingPass
from prefect_cvat.tracking.track_merger import TrackMerger
from prefect_cvat.tracking.source_shape_reader import SourceShapeReader

class StaysForAFrame:
    spec = SimpleNamespace(supported_shape_types=["rectangle"])
    def init_tracking_state(self, context, image, shape):
        return [shape]
    def track(self, context, image, state):
        return state.pop() if state else None

def measure(n):
    last = n // 10 + 1
    frames = PlannedFrames(FrameTable([FrameMeta("a", 800, 800)]), range(last + 1))
    info = SimpleNamespace(
        meta=SimpleNamespace(size=last + 1), through_jobs=False, task=SimpleNamespace(id=1),
        labels=[Label(id=1, name="car")],
    )
    reader = SourceShapeReader(
        SimpleNamespace(info=info, frames=frames), ShapeTrackingOptions(), {"rectangle"}
    )
    reader.read(1, (("shapes", rectangle(i, i // 10, "manual")) for i in range(n)))
    sources = reader.source_shapes()
    del reader
    only = TrackingPass(StaysForAFrame(), frames, sources, is_backward=False)
    image = Image.new("RGB", (800, 800))
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(id=1, task_id=1, start_frame=0, stop_frame=last)]
        tracks = TrackMerger(jobs, sources, last_frame=last, tolerance=2.0, folder=Path(folder))
        for frame in frames:
            found = only.track(frame, image)
            tracks.add([{"frame": found.frame, "shapes": found.shapes}])
        tracks.finish()
        assert tracks.labels() == {"car": n}
        assert sum(len(pack) for _, _, pack in tracks.packs(with_sources=True)) == n
        removed = sum(len(ids) for part in sources.copies_by_job(tracks.is_written) for ids in part.values())
    assert removed == n
    return n
"""


def bytes_each(code, n):
    """The bytes of memory per item that a process needs for `n` items, after a warm-up."""
    run = "measure(20_000); before = peak_mib()\n"
    run += f"print(before, measure({n}), peak_mib())"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + code + run], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    before, count, after = map(float, done.stdout.split())
    return (after - before) * 2**20 / count


@pytest.mark.parametrize(
    ("code", "n", "most"),
    [
        pytest.param(JOB, 100_000, 100, id="annotations of a job"),
        pytest.param(REFINED, 100_000, 100, id="refined shapes of a job"),
        pytest.param(TRACKS, 400_000, 50, id="keyframes of tracks of a job"),
        pytest.param(NAMES, 150_000, 150, id="names of files"),
        pytest.param(ENDED_TRACKS, 100_000, 100, id="tracks that have ended"),
        pytest.param(SOURCE_SHAPES, 60_000, 300, id="source shapes of tracks"),
        pytest.param(RECORD, 200_000, 160, id="record of a run"),
    ],
)
def test_memory_grows_by_few_bytes_per_item(code, n, most):
    assert bytes_each(code, n) < most


NUMBERS = st.integers(-300, 300) | st.sampled_from([2**63 - 1, -(2**63) + 1, 10**12])


@given(st.lists(st.tuples(st.booleans(), NUMBERS)))
def test_number_set_behaves_like_a_set(changes):
    numbers, expected = NumberSet(), set()
    for is_to_go, number in changes:
        for each in (numbers, expected):
            (each.discard if is_to_go else each.add)(number)
        assert len(numbers) == len(expected)
        assert number not in numbers if is_to_go else number in numbers
    assert list(numbers) == sorted(expected)


STORED = st.lists(
    st.tuples(st.sampled_from(["tags", "shapes", "tracks"]), NUMBERS, st.sampled_from(["a", "b", "c"])),
    max_size=20,
).map(lambda each: [(kind, number, told.encode() * 12) for kind, number, told in each])


@given(STORED, STORED, st.data())
def test_annotation_index_behaves_like_a_dictionary(one, other, data):
    keys = [stored[:2] for stored in (*one, *other)]
    exclude = AnnotationIds(data.draw(st.lists(st.sampled_from(keys))) if keys else ())
    records = [StoredRecords(StoredRecords.pack(each)) for each in (one, other)]
    left = [stored for stored in (*one, *other) if stored[:2] not in exclude]
    expected = {(kind, number): told for kind, number, told in left}
    index = StoredIndex(*records, exclude=exclude)
    assert dict(index) == expected
    assert (len(index), index.total) == (len(expected), len(left))
    assert all(index.get(key) == expected.get(key) and (key in index) == (key in expected) for key in keys)
    places = range(len(index))
    assert {index.key_at(place): index.identity_at(place) for place in places} == expected
    counts = {index.key_at(place): index.count_at(place) for place in places}
    assert counts == {key: [stored[:2] for stored in left].count(key) for key in expected}
    assert dict(StoredMap(left).index) == expected


@given(STORED)
def test_finds_annotations_by_content_and_duplicates(stored):
    index = IdentityIndex(StoredRecords(StoredRecords.pack(stored)))
    for told in (letter * 12 for letter in (b"a", b"b", b"c", b"d")):
        order = ["tags", "shapes", "tracks"].index
        expected = sorted((order(kind), number) for kind, number, each in stored if each == told)
        assert (told in index) == bool(expected)
        found = [index.pop(told) for _ in range(len(expected) + 1)]
        assert [key and (order(key[0]), key[1]) for key in found] == [*expected, None]
    duplicates = [each for at, each in enumerate(stored) if each[2] in [told for _, _, told in stored[:at]]]
    assert list(StoredRecords(StoredRecords.pack(stored)).duplicates()) == duplicates


@given(
    st.sets(st.integers(0, 40), min_size=1),
    st.sets(st.integers(0, 40)),
    st.integers(0, 40),
    st.integers(1, 20),
)
def test_part_of_a_track_shows_the_same_as_the_track(frames, outside, begin, length):
    shapes = [
        {"type": "rectangle", "frame": frame, "points": [frame**2, 0.0, 9.0, 9.0], "rotation": 0.0}
        | {"outside": frame in outside}
        for frame in sorted(frames)
    ]
    track = {"frame": min(frames), "label_id": 1, "shapes": shapes}
    part = _part(track, begin, begin + length)
    for number in range(begin, begin + length):
        assert interpolate(part, number) == interpolate(track, number)


def test_report_lists_the_first_failed_frames_and_counts_the_others():
    report = RunReport(task_id=1, task_name="", url="", function="", started=datetime.now(UTC))
    for first in range(0, MAX_FRAME_ERRORS + 500, 100):
        count_failed(report, dict.fromkeys(range(first, first + 100), "no idea"))
    assert list(report.frame_errors) == list(range(MAX_FRAME_ERRORS))
    assert report.frames_failed == MAX_FRAME_ERRORS + 500
    assert "500 more frames failed" in report.lines()
