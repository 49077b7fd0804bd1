"""The page of a run: what is read from CVAT for it, outlines, and bounds."""

import base64
import io
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from pictures import picture
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, mask, polygon, rectangle, tag
from prefect_cvat.frames import Frame
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.run_options import Options
from prefect_cvat.rendering.review_page import page_images, shapes_by_frame
from prefect_cvat.rendering.review_page.content import count_figure
from prefect_cvat.rendering.review_page.page_images import PageImages
from prefect_cvat.rendering.review_page.shape_paths import page_shape
from prefect_cvat.rendering.review_page.shapes_by_frame import ShapesByFrame
from prefect_cvat.rendering.run_page import page_of_run
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])


def scores(by_frame):
    """A function that detects one car with a score on some frames."""

    def detect(context, image):
        score = by_frame.get(int(context.frame_name.split(".")[0]))
        return [] if score is None else [rectangle(7, [2, 2, 20, 30], score=score)]

    return SimpleNamespace(spec=SPEC, detect=detect, version=str(by_frame))


def annotated(client, task_id, function, **options):
    run = AnnotateRun(client, task_id, function, Options(**options), function_name="a function")
    with ThreadSubmitter() as threads:
        return run, run_pipeline(run, threads)


def page_of(client, run, report, max_frames=200, file=None):
    ranked = run.planned.rank_frames(max_frames)
    return page_of_run(client, run.planned.plan, report, ranked, file, max_frames=max_frames)


def test_frames_with_most_expected_corrections_are_first(client, make_task):
    run, report = annotated(client, make_task(5), scores({0: 0.9, 1: 0.3, 2: 0.6, 3: 0.95}))
    page = page_of(client, run, report)
    assert [frame.frame.number for frame in page.frames] == [4, 1, 2, 0, 3]
    first, second = page.frames[:2]
    assert (first.doubts, second.doubts) == (["nothing detected"], ["low score"])
    assert second.corrections == pytest.approx(0.7)
    assert (
        second.url == f"{client.url}/tasks/{report.task_id}/jobs/{client.jobs(report.task_id)[0].id}?frame=1"
    )
    assert [shape.score for shape in second.shapes] == [0.3]
    with PIL.Image.open(io.BytesIO(second.image.jpeg)) as image:
        assert image.size == (second.frame.width, second.frame.height)


def test_each_kind_of_doubt_is_named(client, make_task):
    def detect(context, image):
        match context.frame_name:
            case "0000.png":
                return [rectangle(7, [2, 2, 20, 30], score=0.9), rectangle(7, [2, 2, 20, 31], score=0.8)]
            case "0001.png":
                raise ZeroDivisionError
            case "0002.png":
                return [rectangle(8, [2, 2, 20, 30], score=0.9)]
            case _:
                return [rectangle(7, [i, 2, i + 9, 30], score=0.9) for i in range(0, 60, 10)] * 9

    function = SimpleNamespace(spec=SPEC, detect=detect)
    run, report = annotated(client, make_task(6), function, on_frame_error="skip")
    doubts = {frame.frame.number: list(frame.doubts) for frame in page_of(client, run, report).frames}
    assert [doubts[number] for number in range(3)] == [["overlap"], ["failed"], ["rare label"]]


def test_frames_beyond_the_limit_are_those_with_least_to_review(client, make_task):
    run, report = annotated(
        client, make_task(8, chunk_size=2), scores(dict.fromkeys(range(8), 0.9) | {5: 0.2})
    )
    page = page_of(client, run, report, max_frames=3)
    assert page.frames[0].frame.number == 5
    assert len(page.frames) == 3
    assert "3 of 8 frames are on this page" in page.notes
    assert page.figures[:2] == [("frames", "8"), ("annotations", "8")]
    assert count_figure(1, "track") == ("track", "1")


def test_manual_shapes_tracks_and_tags_are_told_apart(client, make_task):
    task_id = make_task(4)
    [job], labels = client.jobs(task_id), {label.name: label.id for label in client.labels(task_id)}
    keyframe = {"type": "rectangle", "outside": False, "points": [0, 0, 9, 9]}
    track = {
        "frame": 0,
        "label_id": labels["person"],
        "source": "manual",
        "shapes": [keyframe | {"frame": 0}],
    }
    shape = {"type": "ellipse", "frame": 1, "label_id": labels["car"], "points": [20, 20, 30, 10]}
    body = {"tracks": [track], "shapes": [shape | {"source": "manual"}]}
    client.create_job_annotations(job.id, body)

    def detect(context, image):
        return [tag(8), rectangle(7, [2, 2, 20, 30], score=0.75), polygon(7, [1, 1, 9, 1, 9, 9], score=0.5)]

    run, report = annotated(client, task_id, SimpleNamespace(spec=SPEC, detect=detect), existing="keep")
    frames = {frame.frame.number: frame for frame in page_of(client, run, report).frames}
    found = [(shape.kind, shape.label, shape.score, shape.note) for shape in frames[1].shapes]
    assert sorted(found, key=str) == sorted(
        [
            ("machine", "car", 0.75, ""),
            ("machine", "car", 0.5, ""),
            ("manual", "car", None, ""),
            ("manual", "person", None, "#1"),
        ],
        key=str,
    )
    assert frames[1].tags == ["person"]


def test_frame_of_two_jobs_has_each_shape_once(client, make_task):
    task_id = make_task(6, segment_size=4, overlap=2)
    run, report = annotated(client, task_id, scores(dict.fromkeys(range(6), 0.5)))
    assert [frame.count for frame in page_of(client, run, report).frames] == [1] * 6


# --- outlines ---


@pytest.mark.parametrize(
    ("shape", "style", "path", "box"),
    [
        ({"type": "rectangle", "points": [1, 2, 30, 40]}, "area", "", (1, 2, 30, 40)),
        ({"type": "polygon", "points": [1, 2, 30, 2.25, 5, 9]}, "area", "M1 2 30 2.2 5 9Z", (1, 2, 30, 9)),
        ({"type": "polyline", "points": [1, 2, 30, 4]}, "line", "M1 2 30 4", (1, 2, 30, 4)),
        ({"type": "points", "points": [1, 2, 3, 4]}, "dots", "M1 2h.01M3 4h.01", (1, 2, 3, 4)),
        (
            {
                "type": "skeleton",
                "elements": [{"points": [1, 2]}, {"points": [3, 4]}, {"points": [9, 9], "outside": True}],
            },
            "dots",
            "M1 2h.01M3 4h.01",
            (1, 2, 3, 4),
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_outline_of_each_type(shape, style, path, box):
    found = page_shape(shape, "car", 100)
    assert (found.style, found.path, found.box) == (style, path, box)


def test_rotated_rectangles_and_ellipses_have_outlines():
    turned = page_shape({"type": "rectangle", "points": [0, 0, 40, 20], "rotation": 90}, "car", 100)
    assert turned.path == "M30 -10 30 30 10 30 10 -10Z"
    ellipse = page_shape({"type": "ellipse", "points": [30, 30, 50, 20]}, "car", 100)
    assert ellipse.path.startswith("M50 30 ")
    assert ellipse.box == (10, 20, 50, 40)


def corners(path):
    return np.reshape([float(number) for number in re.findall(r"-?[\d.]+", path)], (-1, 2))


@pytest.mark.parametrize("size", [40, 900])
def test_outline_of_a_mask_is_around_its_pixels(size):
    ys, xs = np.mgrid[:size, :size]
    disc = np.hypot(xs - size / 2, ys - size / 2) < size / 3
    shape = {"type": "mask", "points": encode_mask(disc, offset=(100, 50))}
    found = corners(page_shape(shape, "car", 1920).path)
    distances = np.hypot(*(found - [100 + size / 2, 50 + size / 2]).T)
    assert distances == pytest.approx(size / 3, abs=max(1.5, size / 150))
    assert len(found) < 200


def test_long_outlines_are_simplified():
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    circle = np.stack([500 + 300 * np.cos(angles), 500 + 300 * np.sin(angles)], axis=1)
    found = corners(page_shape({"type": "polygon", "points": circle.ravel().tolist()}, "car", 1000).path)
    assert len(found) < 150
    assert np.hypot(*(found - 500).T) == pytest.approx(300, abs=1)


# --- bounds ---

FRAMES = [Frame(number, f"{number}.jpg", 99, 99) for number in range(3)]
BOX = {"type": "rectangle", "points": [0, 0, 9, 9]}


def test_shapes_beyond_the_bound_are_left_out_where_most_are(monkeypatch):
    monkeypatch.setattr(shapes_by_frame, "MAX_SHAPES", 100)
    shapes = ShapesByFrame()
    for number in range(500):
        shapes.add(FRAMES[0], BOX | {"score": number / 500}, "car")
    for _ in range(30):
        shapes.add(FRAMES[1], BOX, "car")
    assert (len(shapes.of(1)), shapes.count(1)) == (30, 30)
    assert (len(shapes.of(0)), shapes.count(0)) == (70, 500)
    assert max(shape.score for shape in shapes.of(0)) == 69 / 500


def test_mistakes_are_left_out_last(monkeypatch):
    monkeypatch.setattr(shapes_by_frame, "MAX_SHAPES", 100)
    shapes = ShapesByFrame()
    for frame in FRAMES[:3]:
        for _ in range(60):
            shapes.add(frame, BOX | {"score": 0.9}, "car", kind="found")
        for _ in range(20):
            shapes.add(frame, BOX, "car", kind="missed")
    drawn = [Counter(shape.kind for shape in shapes.of(frame.number)) for frame in FRAMES[:3]]
    assert [each["missed"] for each in drawn] == [20, 20, 20]
    assert sum(each.total() for each in drawn) == 100


def test_shapes_whose_points_are_wrong_are_counted_and_not_drawn(client, make_task):
    run, report = annotated(client, make_task(2), scores({0: 0.9, 1: 0.9}))
    broken = {"type": "mask", "frame": 1, "points": [0, 50, 0, 0, 3, 3], "source": "manual"}
    label = client.labels(report.task_id)[0].id
    client.create_job_annotations(
        client.jobs(report.task_id)[0].id, {"shapes": [broken | {"label_id": label}]}
    )
    page = page_of(client, run, report)
    assert {frame.frame.number: (len(frame.shapes), frame.count) for frame in page.frames} == {
        0: (1, 1),
        1: (1, 2),
    }
    assert "not drawn: 1 shape whose points are wrong" in page.notes


def opened(count, size=(1920, 1080)):
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 255, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
        yield Frame(number, f"{number}.jpg", *size), PIL.Image.fromarray(pixels).resize(size)


def test_images_of_two_hundred_frames_take_less_than_twenty_megabytes():
    """Of noise, which is larger than any photograph; a part of the frames stands for all."""
    images = [image for _, image in PageImages(200).make(opened(4))]
    assert all(len(image.jpeg) <= page_images.MAX_BYTES / 200 for image in images)
    assert all(image.file == "" for image in images)
    assert len(base64.b64encode(b"x" * page_images.MAX_BYTES)) < 19e6


def test_small_images_are_not_enlarged():
    [(_, image)] = PageImages(1).make(opened(1, (64, 48)))
    with PIL.Image.open(io.BytesIO(image.jpeg)) as made:
        assert made.size == (64, 48)


def test_report_shows_itself_in_a_notebook(client, make_task):
    _, report = annotated(client, make_task(2), scores({0: 0.3, 1: 0.9}))
    report.labels["<script>alert(1)</script>"] = 3
    shown = report._repr_html_()
    assert shown.index("frame 0</a>") < shown.index("frame 1</a>")
    assert "2 added on 2 frames" in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert client.url in shown


def test_masks_of_a_run_are_on_the_page(client, make_task):
    bitmap = np.zeros((30, 40), dtype=bool)
    bitmap[5:25, 5:30] = True
    detect = lambda context, image: [mask(7, encode_mask(bitmap), score=0.5)]  # noqa: E731
    task = client.create_task("masks", [label_spec("car", None), label_spec("person", None)])
    client.upload_images(task.id, {"0000.png": picture(64, 48)})
    run, report = annotated(client, task.id, SimpleNamespace(spec=SPEC, detect=detect))
    [shape] = page_of(client, run, report).frames[0].shapes
    assert shape.path.startswith("M")
