"""Ranking of frames for review by expected corrections."""

import random
import sys
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from clips import clip, number_on
from prefect_cvat import TrackOptions, annotate_task, track_task
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    TrackingFunctionSpec,
    label_spec,
    points,
    polygon,
    rectangle,
    tag,
)
from prefect_cvat.exceptions import BadFunctionError, StorageError
from prefect_cvat.frames import Frame
from prefect_cvat.models import Job
from prefect_cvat.rendering.run_report_markdown import render_markdown
from prefect_cvat.review.frame_ranking import rank_frames
from prefect_cvat.review.frame_summary import (
    MAX_BYTES_IN_MEMORY,
    FrameSummaries,
    FrameSummary,
    summarize_shapes,
)
from prefect_cvat.review.track_uncertainty import TrackSummaries, TrackSummary
from prefect_cvat.review.uncertainty import Uncertainty, measure_uncertainty
from prefect_cvat.runs.reports.report_model import RunReport

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])
NAMES = {1: "car", 2: "truck", 3: "dog"}
JOBS = [
    Job(id=10, task_id=5, type="annotation", start_frame=0, stop_frame=49, state="new", stage="annotation"),
    Job(id=11, task_id=5, type="annotation", start_frame=45, stop_frame=999, state="new", stage="annotation"),
]


def box(left=0, top=0, right=10, bottom=10, *, score=1.0, label=1, **fields):
    shape = {"type": "rectangle", "label_id": label, "points": [left, top, right, bottom], "score": score}
    return shape | fields


def rank(summaries, max_frames=100):
    kept = summaries if isinstance(summaries, FrameSummaries) else FrameSummaries(summaries)
    return rank_frames(kept, labels=NAMES, jobs=JOBS, url="http://cvat/tasks/5", max_frames=max_frames)


def ranked(*frames):
    """The order of frames, given as lists of shapes."""
    return rank([summarize_shapes(number, shapes) for number, shapes in enumerate(frames)])


def detector(detect, spec=SPEC):
    """A function that detects on a frame what `detect` returns for the number in its file name."""
    return SimpleNamespace(
        spec=spec, detect=lambda context, image: detect(int(context.frame_name.split(".")[0]))
    )


# --- expected corrections of shapes ---


def test_shapes_add_1_minus_their_score():
    [first, second] = ranked(
        [box(score=0.9)], [box(score=0.4), box(20, 0, 30, 10, score=0.8)], [box()], [box(score=1.0)]
    )
    assert (first.frame, first.expected_corrections) == (1, 0.8)
    assert first.reasons == ["1 of 2 shapes below 0.5"]
    assert first.box == (0, 0, 10, 10)
    assert (second.frame, second.expected_corrections) == (0, 0.1)
    assert second.reasons == ["1 shape, lowest score 0.90"]


def test_overlapping_shape_with_lower_score_adds_its_iou():
    [item] = ranked([box(score=0.6, label=2), box(0, 0, 10, 8, score=0.9), box(50, 0, 60, 10)])
    assert item.expected_corrections == pytest.approx(0.8 + 0.1)
    assert item.reasons == ["3 shapes, lowest score 0.60", "1 overlapping: truck/car IoU 0.80"]
    assert item.box == (0, 0, 10, 10)


@pytest.mark.parametrize(
    ("second", "iou"),
    [
        pytest.param(box(0, 0, 10, 5), 0.5, id="IoU 0.5"),
        pytest.param(box(0, 0, 10, 4.9), 0, id="IoU below 0.5"),
        pytest.param(box(20, 0, 30, 10), 0, id="no intersection"),
        pytest.param({**box(), "type": "polygon", "points": [0, 0, 10, 0, 10, 10]}, 0, id="another type"),
    ],
)
def test_shapes_of_one_type_overlap_from_an_iou_of_0_5(second, iou):
    assert [each.iou for each in measure_uncertainty([box(), second])] == [0, iou]


def test_points_and_polylines_do_not_overlap():
    line = {"type": "polyline", "label_id": 1, "points": [0, 0, 9, 9], "score": 1.0}
    dot = {"type": "points", "label_id": 1, "points": [3, 3], "score": 1.0}
    assert ranked([line, line, dot, dot]) == []


def test_overlaps_of_many_shapes_equal_those_of_a_loop():
    rng = random.Random(4)
    shapes = []
    for _ in range(600):
        left, top = rng.uniform(0, 150), rng.uniform(0, 150)
        right, bottom = left + rng.uniform(1, 30), top + rng.uniform(1, 30)
        shapes.append(
            box(left, top, right, bottom, score=rng.choice([0.2, 0.5, 0.8]), label=rng.randint(1, 3))
        )

    def iou(one, other):
        a, b = one["points"], other["points"]
        across = min(a[2], b[2]) - max(a[0], b[0])
        down = min(a[3], b[3]) - max(a[1], b[1])
        common = max(across, 0) * max(down, 0)
        return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)

    def has_higher_score(index, other):
        return (shapes[other]["score"], -other) > (shapes[index]["score"], -index)

    expected = []
    for index, shape in enumerate(shapes):
        best = max(
            (iou(shape, shapes[other]) for other in range(600) if has_higher_score(index, other)), default=0
        )
        expected.append(best if best >= 0.5 else 0)
    assert [each.iou for each in measure_uncertainty(shapes)] == pytest.approx(expected)
    assert sum(map(bool, expected)) > 50


def test_label_of_less_than_1_percent_of_shapes_is_rare():
    frames = [[box(0, 0, 10, 10), box(20, 0, 30, 10)] for _ in range(60)]
    frames[7] = [box(), box(20, 0, 30, 10, label=3)]
    [item] = ranked(*frames)
    assert (item.frame, item.expected_corrections, item.reasons) == (7, 0.5, ["rare label: dog"])
    assert ranked(*frames[:50]) == []  # exactly 1 %


def test_empty_frame_adds_the_fraction_of_frames_with_detections():
    [item] = ranked([box()], [box()], [], [box()])
    assert (item.frame, item.expected_corrections) == (2, 0.75)
    assert item.reasons == ["nothing detected, as on 1 of 4 frames"]
    assert item.box is None
    assert ranked([], []) == []


def test_frames_with_equal_expected_corrections_ascend():
    summaries = [summarize_shapes(frame, [box(score=0.5)]) for frame in (60, 3, 46)]
    assert [item.frame for item in rank(summaries)] == [3, 46, 60]
    assert [item.frame for item in rank(summaries, max_frames=2)] == [3, 46]
    assert rank(summaries, max_frames=0) == []


def test_url_opens_the_first_job_of_the_frame():
    items = rank([summarize_shapes(frame, [box(score=0.5)]) for frame in (46, 60)])
    assert [(item.job_id, item.url) for item in items] == [
        (10, "http://cvat/tasks/5/jobs/10?frame=46"),
        (11, "http://cvat/tasks/5/jobs/11?frame=60"),
    ]


# --- tracks ---


def summarize_tracks(tracks, frames):
    summaries = TrackSummaries()
    for track in tracks:
        summaries.add(track)
    return list(summaries.each(frames))


def track_summary(first, last, boxes=(20, 20, 30, 30), score=1.0, **fields):
    detections = [(frame, Uncertainty(1, score, boxes, **fields)) for frame in range(first, last + 1)]
    track = TrackSummary(*detections[0])
    for frame, detection in detections:
        track.add(frame, detection)
    return track


@pytest.mark.parametrize(
    ("track", "frames"),
    [
        pytest.param(track_summary(0, 9), [], id="all frames"),
        pytest.param(track_summary(0, 5), [5], id="ends early"),
        pytest.param(track_summary(3, 9), [3], id="begins late"),
        pytest.param(track_summary(3, 5), [3, 5], id="both"),
        pytest.param(track_summary(3, 5, (0, 20, 10, 30)), [], id="at the left edge"),
        pytest.param(track_summary(3, 5, (90, 20, 99, 30)), [], id="at the right edge"),
        pytest.param(track_summary(3, 5, (20, 70, 30, 79)), [], id="at the lower edge"),
    ],
)
def test_track_that_begins_or_ends_inside_the_image_adds_1(track, frames):
    of_task = {number: Frame(number, "", 100, 80) for number in range(10)}
    items = rank(summarize_tracks([track], of_task))
    assert [item.frame for item in items] == frames
    assert all(item.expected_corrections == 1 and item.box == (20, 20, 30, 30) for item in items)


def test_track_adds_its_uncertainty_once():
    of_task = {number: Frame(number, "", 100, 80) for number in range(10)}
    overlapping = track_summary(0, 9, score=0.9)
    overlapping.add(9, Uncertainty(1, 0.9, (1, 1, 5, 5), 0.7, 2))
    items = rank(summarize_tracks([track_summary(0, 9, score=0.2), overlapping], of_task))
    assert [(item.frame, item.expected_corrections) for item in items] == [(0, 0.8), (9, 0.7)]
    assert items[0].reasons == ["1 of 1 track below 0.5"]
    assert items[1].reasons == ["1 track, lowest score 0.90", "1 overlapping: car/truck IoU 0.70"]


def test_track_task_reports_where_tracks_break(client, video_task):
    task_id = video_task(clip(range(24)), segment_size=10)

    def detect(context, image):
        number = number_on(image)
        return [] if 10 <= number <= 15 else [rectangle(7, [20, 20, 44, 40])]

    spec = DetectionFunctionSpec(labels=[label_spec("car", 7)])
    tracking = TrackOptions(fill_gap=0, min_length=1, max_gap=2)
    report = track_task(client, task_id, SimpleNamespace(spec=spec, detect=detect), track_options=tracking)
    assert report.tracks == {"car": 2}
    assert [(item.frame, item.expected_corrections, item.reasons) for item in report.review] == [
        (9, 1.0, ["track ends here: car"]),
        (16, 1.0, ["track begins here: car"]),
    ]
    jobs = {job.start_frame: job.id for job in client.jobs(task_id)}
    assert report.review[1].url == f"{report.url}/jobs/{jobs[10]}?frame=16"


class LosesOnFrame:
    """Tracks a rectangle that stays in place, and loses it on a frame."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})

    def __init__(self, frame):
        self.frame = frame

    def preprocess_image(self, context, image):
        return number_on(image)

    def init_tracking_state(self, context, number, shape):
        return shape

    def track(self, context, number, state):
        return None if number == self.frame else state


def test_track_task_reports_where_source_shapes_were_lost(client, video_task):
    task_id = video_task(clip(range(12)))
    [job] = client.jobs(task_id)
    [label] = client.labels(task_id)
    source_shape = box(20, 20, 40, 40, label=label.id, frame=1, source="manual")
    client.create_job_annotations(job.id, {"shapes": [source_shape], "tags": [], "tracks": []})
    report = track_task(client, task_id, LosesOnFrame(8))
    assert (report.source_shapes, report.lost) == (1, 1)
    [item] = report.review
    assert (item.frame, item.expected_corrections, item.reasons) == (7, 1.0, ["track ends here: car"])
    assert item.box == (20, 20, 40, 40)


# --- runs ---


def findings(number):
    """Scores that decrease from frame to frame; nothing on frame 4."""
    if number == 4:
        return []
    return [
        rectangle(7, [1, 2, 11, 12], score=1 - 0.1 * number),
        polygon(8, [1, 2, 11, 2, 11, 12], score=0.9) if number == 5 else tag(8),
        points(7, [5, 5], score=0.95),
    ]


@pytest.mark.parametrize("frames_per_batch", [1, 100])
def test_ranking_is_independent_of_frames_per_batch_and_cache(client, make_task, frames_per_batch):
    task_id = make_task(6, segment_size=3)
    function = detector(findings)
    function.version = str(frames_per_batch)
    report = annotate_task(client, task_id, function, frames_per_batch=frames_per_batch)
    assert [(item.frame, item.expected_corrections) for item in report.review] == [
        (4, 0.83), (5, 0.65), (3, 0.35), (2, 0.25), (1, 0.15), (0, 0.05),
    ]  # fmt: skip
    again = annotate_task(client, task_id, function, frames_per_batch=2)
    assert again.frames_from_cache == 6
    assert again.review == report.review


def test_review_frames_limits_the_number_of_frames(client, make_task):
    task_id = make_task(6)
    assert len(annotate_task(client, task_id, detector(findings), review_frames=2).review) == 2
    assert annotate_task(client, task_id, detector(findings), review_frames=0).review == []
    with pytest.raises(ValueError, match="review_frames must be 0 or more, not -1"):
        annotate_task(client, task_id, detector(findings), review_frames=-1)


def test_failed_frame_is_ranked_first(client, make_task):
    def detect(number):
        if number == 2:
            raise ZeroDivisionError("no")
        return [rectangle(7, [1, 2, 11, 12], score=0.5), rectangle(8, [30, 2, 41, 12], score=0.9)]

    report = annotate_task(client, make_task(4), detector(detect), on_frame_error="skip")
    assert report.review[0].frame == 2
    assert report.review[0].expected_corrections == 2.0
    assert report.review[0].reasons == ["not annotated: the function failed"]


def test_failed_run_without_annotations_has_no_review(client, make_task):
    from prefect_cvat.options.run_options import Options
    from prefect_cvat.runs.annotate_run import AnnotateRun
    from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline

    def detect(number):
        return [rectangle(7 if number < 3 else 99, [1, 2, 11, 12], score=0.5)]

    run = AnnotateRun(
        client, make_task(4, chunk_size=1), detector(detect), Options(frames_per_batch=1, window=1)
    )
    with ThreadSubmitter() as threads, pytest.raises(BadFunctionError):
        run_pipeline(run, threads)
    assert run.report.frames == 3
    assert run.finish_report(1.0).review == []


def test_report_lists_frames_in_lines_and_in_markdown(client, make_task):
    report = annotate_task(client, make_task(6, segment_size=3), detector(findings))
    [first, *others] = [line for line in report.lines() if line.startswith("review frame")]
    assert first == (
        "review frame 4 first, 0.83 corrections expected (nothing detected, as on 1 of 6 frames):"
        f" {report.review[0].url}"
    )
    assert len(others) == 4
    html = MarkdownIt("commonmark").enable("table").render(render_markdown(report))
    assert "<h2>Frames to review first</h2>" in html
    for item in report.review:
        assert f'<td><a href="{item.url}">{item.frame}</a></td>' in html
    assert RunReport.model_validate_json(report.model_dump_json()) == report


def test_size_of_a_summary_is_independent_of_the_number_of_shapes():
    few = summarize_shapes(0, [box(20 * n, 0, 20 * n + 10, 10, score=0.5) for n in range(3)])
    many = summarize_shapes(0, [box(20 * n, 0, 20 * n + 10, 10, score=0.5) for n in range(3000)])
    assert isinstance(many, FrameSummary)
    assert many.count == 3000
    assert [sys.getsizeof(getattr(few, name)) for name in ("labels", "breaks", "box")] == [
        sys.getsizeof(getattr(many, name)) for name in ("labels", "breaks", "box")
    ]


def test_summaries_on_disk_give_the_same_ranking():
    shapes = [box(n, 0, n + 10, 10, score=0.3 + 0.01 * n, label=1 + n % 3) for n in range(60)]
    summaries = [
        summarize_shapes(n % 900, shapes[n % 7 : 5 + n % 9], tags=n % 2)
        for n in range(MAX_BYTES_IN_MEMORY // 100)
    ]
    kept = FrameSummaries(summaries[:5])
    kept.extend(summaries[5:])
    assert kept._file.tell() > MAX_BYTES_IN_MEMORY
    assert list(kept) == summaries
    assert rank(kept, max_frames=30) == rank(summaries, max_frames=30)


def test_full_disk_is_a_storage_error(monkeypatch):
    kept = FrameSummaries()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "_file", SimpleNamespace(seek=lambda *_: 0, writelines=full))
    with pytest.raises(StorageError, match="No space left"):
        kept.extend([FrameSummary(0)])
