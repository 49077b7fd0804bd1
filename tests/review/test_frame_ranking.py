"""Which frames a report says to look at first, and why."""

import importlib.util
import random
import sys
from pathlib import Path
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
from prefect_cvat.reporting.markdown_report import render_markdown
from prefect_cvat.review.frame_ranking import (
    IN_MEMORY,
    FrameSummaries,
    FrameSummary,
    rank_frames,
    summarize_shapes,
)
from prefect_cvat.review.track_uncertainty import SeenTrack, TrackSummaries
from prefect_cvat.review.uncertainty import Doubt, find_doubts
from prefect_cvat.runs.report import RunReport

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "review.py"
SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])
NAMES = {1: "car", 2: "truck", 3: "dog"}
JOBS = [
    Job(id=10, task_id=5, type="annotation", start_frame=0, stop_frame=49, state="new", stage="annotation"),
    Job(id=11, task_id=5, type="annotation", start_frame=45, stop_frame=999, state="new", stage="annotation"),
]


def box(left=0, top=0, right=10, bottom=10, *, score=1.0, label=1, **fields):
    shape = {"type": "rectangle", "label_id": label, "points": [left, top, right, bottom], "score": score}
    return shape | fields


def rank(summaries, most=100):
    return rank_frames(summaries, labels=NAMES, jobs=JOBS, url="http://cvat/tasks/5", most=most)


def ranked(*frames):
    """The order of frames, given as lists of shapes."""
    return rank([summarize_shapes(number, shapes) for number, shapes in enumerate(frames)])


def detector(detect, spec=SPEC):
    """A function that finds on a frame, told by its name, what `detect` says."""
    return SimpleNamespace(
        spec=spec, detect=lambda context, image: detect(int(context.frame_name.split(".")[0]))
    )


# --- what counts, and how much ---


def test_shapes_count_by_what_their_scores_lack():
    [first, second] = ranked(
        [box(score=0.9)], [box(score=0.4), box(20, 0, 30, 10, score=0.8)], [box()], [box(score=1.0)]
    )
    assert (first.frame, first.expected_work) == (1, 0.8)
    assert first.reasons == ["1 of 2 shapes below 0.5"]
    assert first.box == (0, 0, 10, 10)
    assert (second.frame, second.expected_work) == (0, 0.1)
    assert second.reasons == ["1 shape, the least score 0.90"]


def test_of_two_shapes_on_one_object_the_less_sure_one_must_go():
    [item] = ranked([box(score=0.6, label=2), box(0, 0, 10, 8, score=0.9), box(50, 0, 60, 10)])
    assert item.expected_work == pytest.approx(0.8 + 0.1)
    assert item.reasons == ["3 shapes, the least score 0.60", "1 overlapping: truck/car IoU 0.80"]
    assert item.box == (0, 0, 10, 10)


@pytest.mark.parametrize(
    ("second", "overlap"),
    [
        pytest.param(box(0, 0, 10, 5), 0.5, id="by half"),
        pytest.param(box(0, 0, 10, 4.9), 0, id="by less"),
        pytest.param(box(20, 0, 30, 10), 0, id="elsewhere"),
        pytest.param({**box(), "type": "polygon", "points": [0, 0, 10, 0, 10, 10]}, 0, id="of another type"),
    ],
)
def test_what_counts_as_the_same_object(second, overlap):
    doubts = find_doubts([box(), second])
    assert [doubt.overlap for doubt in doubts] == [0, overlap]


def test_points_and_lines_on_one_another_are_no_pair():
    line = {"type": "polyline", "label_id": 1, "points": [0, 0, 9, 9], "score": 1.0}
    dot = {"type": "points", "label_id": 1, "points": [3, 3], "score": 1.0}
    assert ranked([line, line, dot, dot]) == []


def test_overlaps_of_many_shapes_are_those_that_a_loop_finds():
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

    def surer(index, other):
        return (shapes[other]["score"], -other) > (shapes[index]["score"], -index)

    expected = []
    for index, shape in enumerate(shapes):
        best = max((iou(shape, shapes[other]) for other in range(600) if surer(index, other)), default=0)
        expected.append(best if best >= 0.5 else 0)
    assert [doubt.overlap for doubt in find_doubts(shapes)] == pytest.approx(expected)
    assert sum(map(bool, expected)) > 50


def test_a_label_of_less_than_one_shape_in_a_hundred_is_rare():
    frames = [[box(0, 0, 10, 10), box(20, 0, 30, 10)] for _ in range(60)]
    frames[7] = [box(), box(20, 0, 30, 10, label=3)]
    [item] = ranked(*frames)
    assert (item.frame, item.expected_work, item.reasons) == (7, 0.5, ["rare label: dog"])
    assert ranked(*frames[:50]) == []  # one in a hundred is not less


def test_a_frame_with_nothing_counts_by_how_many_have_something():
    [item] = ranked([box()], [box()], [], [box()])
    assert (item.frame, item.expected_work) == (2, 0.75)
    assert item.reasons == ["nothing found, as on 1 of 4 frames"]
    assert item.box is None
    assert ranked([], []) == []


def test_frames_with_the_same_work_keep_their_order_and_are_cut_off_at_the_most():
    summaries = [summarize_shapes(frame, [box(score=0.5)]) for frame in (60, 3, 46)]
    assert [item.frame for item in rank(summaries)] == [3, 46, 60]
    assert [item.frame for item in rank(summaries, most=2)] == [3, 46]
    assert rank(summaries, most=0) == []


def test_the_link_leads_to_the_first_job_of_the_frame():
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


def seen(first, last, boxes=(20, 20, 30, 30), score=1.0, **fields):
    doubts = [(frame, Doubt(1, score, boxes, **fields)) for frame in range(first, last + 1)]
    track = SeenTrack(*doubts[0])
    for frame, doubt in doubts:
        track.add(frame, doubt)
    return track


@pytest.mark.parametrize(
    ("track", "frames"),
    [
        pytest.param(seen(0, 9), [], id="all frames"),
        pytest.param(seen(0, 5), [5], id="ends early"),
        pytest.param(seen(3, 9), [3], id="begins late"),
        pytest.param(seen(3, 5), [3, 5], id="both"),
        pytest.param(seen(3, 5, (0, 20, 10, 30)), [], id="at the left edge"),
        pytest.param(seen(3, 5, (90, 20, 99, 30)), [], id="at the right edge"),
        pytest.param(seen(3, 5, (20, 70, 30, 79)), [], id="at the lower edge"),
    ],
)
def test_a_track_that_begins_or_ends_inside_is_broken(track, frames):
    of_task = {number: Frame(number, "", 100, 80) for number in range(10)}
    items = rank(summarize_tracks([track], of_task))
    assert [item.frame for item in items] == frames
    assert all(item.expected_work == 1 and item.box == (20, 20, 30, 30) for item in items)


def test_a_track_counts_once_by_its_mean_score_or_its_overlap():
    of_task = {number: Frame(number, "", 100, 80) for number in range(10)}
    overlapping = seen(0, 9, score=0.9)
    overlapping.add(9, Doubt(1, 0.9, (1, 1, 5, 5), 0.7, 2))
    items = rank(summarize_tracks([seen(0, 9, score=0.2), overlapping], of_task))
    assert [(item.frame, item.expected_work) for item in items] == [(0, 0.8), (9, 0.7)]
    assert items[0].reasons == ["1 of 1 track below 0.5"]
    assert items[1].reasons == ["1 track, the least score 0.90", "1 overlapping: car/truck IoU 0.70"]


def test_a_run_that_makes_tracks_reports_where_they_break(client, video_task):
    task_id = video_task(clip(range(24)), segment_size=10)

    def detect(context, image):
        number = number_on(image)
        return [] if 10 <= number <= 15 else [rectangle(7, [20, 20, 44, 40])]

    spec = DetectionFunctionSpec(labels=[label_spec("car", 7)])
    tracking = TrackOptions(smoothing=0, fill_gap=0, min_length=1, max_gap=2)
    report = track_task(client, task_id, SimpleNamespace(spec=spec, detect=detect), track_options=tracking)
    assert report.tracks == {"car": 2}
    assert [(item.frame, item.expected_work, item.reasons) for item in report.review] == [
        (9, 1.0, ["track ends here: car"]),
        (16, 1.0, ["track begins here: car"]),
    ]
    jobs = {job.start_frame: job.id for job in client.jobs(task_id)}
    assert report.review[1].url == f"{report.url}/jobs/{jobs[10]}?frame=16"


class LosesOnFrame:
    """Follows a rectangle in place until a frame."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})

    def __init__(self, frame):
        self.frame = frame

    def preprocess_image(self, context, image):
        return number_on(image)

    def init_tracking_state(self, context, number, shape):
        return shape

    def track(self, context, number, state):
        return None if number == self.frame else state


def test_a_run_that_follows_shapes_reports_where_they_were_lost(client, video_task):
    task_id = video_task(clip(range(12)))
    [job] = client.jobs(task_id)
    [label] = client.labels(task_id)
    seed = box(20, 20, 40, 40, label=label.id, frame=1, source="manual")
    client.create_job_annotations(job.id, {"shapes": [seed], "tags": [], "tracks": []})
    report = track_task(client, task_id, LosesOnFrame(8))
    assert (report.seeds, report.lost) == (1, 1)
    [item] = report.review
    assert (item.frame, item.expected_work, item.reasons) == (7, 1.0, ["track ends here: car"])
    assert item.box == (20, 20, 40, 40)


# --- runs ---


def findings(number):
    """More and more doubtful from frame to frame, but for frame 4, on which there is nothing."""
    if number == 4:
        return []
    return [
        rectangle(7, [1, 2, 11, 12], score=1 - 0.1 * number),
        polygon(8, [1, 2, 11, 2, 11, 12], score=0.9) if number == 5 else tag(8),
        points(7, [5, 5], score=0.95),
    ]


@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_order_does_not_depend_on_batches_and_is_the_same_from_the_cache(client, make_task, batch_size):
    task_id = make_task(6, segment_size=3)
    function = detector(findings)
    function.version = str(batch_size)
    report = annotate_task(client, task_id, function, batch_size=batch_size)
    assert [(item.frame, item.expected_work) for item in report.review] == [
        (4, 0.83), (5, 0.65), (3, 0.35), (2, 0.25), (1, 0.15), (0, 0.05),
    ]  # fmt: skip
    again = annotate_task(client, task_id, function, batch_size=2)
    assert again.frames_from_cache == 6
    assert again.review == report.review


def test_as_many_frames_are_reported_as_are_asked_for(client, make_task):
    task_id = make_task(6)
    assert len(annotate_task(client, task_id, detector(findings), review_frames=2).review) == 2
    assert annotate_task(client, task_id, detector(findings), review_frames=0).review == []
    with pytest.raises(ValueError, match="review_frames must be 0 or more, not -1"):
        annotate_task(client, task_id, detector(findings), review_frames=-1)


def test_a_frame_on_which_the_function_fails_comes_first(client, make_task):
    def detect(number):
        if number == 2:
            raise ZeroDivisionError("no")
        return [rectangle(7, [1, 2, 11, 12], score=0.5), rectangle(8, [30, 2, 41, 12], score=0.9)]

    report = annotate_task(client, make_task(4), detector(detect), on_frame_error="skip")
    assert report.review[0].frame == 2
    assert report.review[0].expected_work == 2.0
    assert report.review[0].reasons == ["not annotated: the function failed"]


def test_what_a_failed_run_has_taken_back_is_not_to_be_looked_at(client, make_task):
    from prefect_cvat.options.run_options import Options
    from prefect_cvat.runs.annotate_run import AnnotateRun
    from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline

    def detect(number):
        return [rectangle(7 if number < 3 else 99, [1, 2, 11, 12], score=0.5)]

    run = AnnotateRun(client, make_task(4, chunk_size=1), detector(detect), Options(batch_size=1, window=1))
    with ThreadSubmitter() as threads, pytest.raises(BadFunctionError):
        run_pipeline(run, threads)
    assert run.report.frames == 3
    assert run.complete(1.0).review == []


def test_the_report_says_in_lines_and_in_markdown_what_to_look_at(client, make_task):
    report = annotate_task(client, make_task(6, segment_size=3), detector(findings))
    [first, *others] = [line for line in report.lines() if line.startswith("look first at frame")]
    assert first == (
        "look first at frame 4, 0.83 corrections expected (nothing found, as on 1 of 6 frames):"
        f" {report.review[0].url}"
    )
    assert len(others) == 4
    html = MarkdownIt("commonmark").enable("table").render(render_markdown(report))
    assert "<h2>Look at these first</h2>" in html
    for item in report.review:
        assert f'<td><a href="{item.url}">{item.frame}</a></td>' in html
    assert RunReport.model_validate_json(report.model_dump_json()) == report


def test_a_summary_is_small_whatever_the_number_of_shapes():
    few = summarize_shapes(0, [box(20 * n, 0, 20 * n + 10, 10, score=0.5) for n in range(3)])
    many = summarize_shapes(0, [box(20 * n, 0, 20 * n + 10, 10, score=0.5) for n in range(3000)])
    assert isinstance(many, FrameSummary)
    assert many.count == 3000
    assert [sys.getsizeof(getattr(few, name)) for name in ("labels", "breaks", "box")] == [
        sys.getsizeof(getattr(many, name)) for name in ("labels", "breaks", "box")
    ]


# --- whether it is of use ---


def test_photographs_with_mistakes_come_first(client, test_data):
    spec = importlib.util.spec_from_file_location("benchmark_review", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)

    task_id, size = benchmark.create_task(client, test_data / "coco-photos")
    order, mistakes, _ = benchmark.measure(client, task_id, size, 0.4)

    assert sorted(order) == list(range(13))
    assert sum(mistakes.values()) == 72
    assert benchmark.share_on_first(order, mistakes, 0.25) > 0.4  # no order: 0.25; it was 0.48
    assert benchmark.share_on_first(order[::-1], mistakes, 0.25) < 0.25


def test_summaries_on_disk_are_ranked_as_those_in_memory():
    shapes = [box(n, 0, n + 10, 10, score=0.3 + 0.01 * n, label=1 + n % 3) for n in range(60)]
    summaries = [
        summarize_shapes(n % 900, shapes[n % 7 : 5 + n % 9], tags=n % 2) for n in range(IN_MEMORY // 100)
    ]
    kept = FrameSummaries(summaries[:5])
    kept.extend(summaries[5:])
    assert kept._file.tell() > IN_MEMORY
    assert list(kept) == summaries
    assert rank(kept, most=30) == rank(summaries, most=30)


def test_where_the_disk_is_full_it_is_said(monkeypatch):
    kept = FrameSummaries()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "_file", SimpleNamespace(seek=lambda *_: 0, writelines=full))
    with pytest.raises(StorageError, match="No space left"):
        kept.extend([FrameSummary(0)])
