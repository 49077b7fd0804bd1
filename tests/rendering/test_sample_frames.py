"""Drawing of sample frames of a task with the annotations that the server has on them."""

import base64
import io
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from clips import clip, number_on
from prefect_cvat import annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, mask, rectangle, tag
from prefect_cvat.cvat.client import Client
from prefect_cvat.frames import Frame
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.rendering.frame_svg import (
    AnnotatedFrame,
    render_frame,
    shrink_image,
)
from prefect_cvat.rendering.sample_frames import (
    MAX_ANNOTATIONS,
    MAX_BYTES,
    annotations_on,
    draw_sample_frames,
)

SVG = "{http://www.w3.org/2000/svg}"
SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])


def image_in(svg):
    """The image in an SVG."""
    href = ET.fromstring(svg).find(f"{SVG}image").get("href")
    head, data = href.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return PIL.Image.open(io.BytesIO(base64.b64decode(data)))


def texts(svg):
    return [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]


def boxes(frames):
    """A function that detects the given number of cars on each frame."""

    def detect(context, image):
        number = int(context.frame_name.split(".")[0])
        return [rectangle(7, [i, 2, i + 20, 30], score=0.75) for i in range(frames.get(number, 0))]

    return SimpleNamespace(spec=SPEC, detect=detect, version=str(frames))


@pytest.fixture
def asked(monkeypatch):
    """Records the jobs that are read and the chunks that are downloaded."""
    requests = []
    read, fetch = Client.iter_job_annotations, Client.chunk
    monkeypatch.setattr(
        Client,
        "iter_job_annotations",
        lambda self, job: requests.append(("job", job)) or read(self, job),
    )
    monkeypatch.setattr(
        Client,
        "chunk",
        lambda self, task, number, file, **more: (
            requests.append(("chunk", number)) or fetch(self, task, number, file, **more)
        ),
    )
    return requests


def drawn(client, task_id, selection=None, **more):
    pictures = draw_sample_frames(client, make_plan(read_task(client, task_id), selection), **more)
    return [int(picture.description.split()[1]) for picture in pictures], pictures


# --- one frame ---

SHAPES = {
    "rectangle": {"points": [10, 10, 50, 40], "rotation": 30},
    "polygon": {"points": [10, 10, 50, 40, 20, 30]},
    "polyline": {"points": [10, 10, 50, 40, 20, 30]},
    "points": {"points": [10, 10, 50, 40]},
    "ellipse": {"points": [30, 30, 50, 20]},
    "cuboid": {"points": [10, 10] * 8},
    "mask": {"points": [0, 2, 2, 20, 20, 21, 21]},
    "skeleton": {"elements": [{"type": "points", "points": [10, 10], "label_id": 2}]},
}


@pytest.mark.parametrize("shape_type", SHAPES)
def test_draws_each_type_of_shape_with_label_and_score(shape_type):
    shape = {"type": shape_type, "label_id": 1, "score": 0.5, **SHAPES[shape_type]}
    jpeg = shrink_image(PIL.Image.new("RGB", (64, 48), "navy"), "a frame")
    frame = AnnotatedFrame(Frame(3, "a.png", 64, 48), jpeg, [], [shape])
    svg = render_frame(frame, {1: "car", 2: "wheel"}, width=320)
    root = ET.fromstring(svg)
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("320", "240", "0 0 64 48")
    label = 2  # a box and a text
    assert len(root.find(f"{SVG}g")) - label == {"points": 2, "cuboid": 8}.get(shape_type, 1)
    assert texts(svg) == ["car 0.50"]
    assert image_in(svg).size == (64, 48)


def test_ellipse_is_drawn_with_its_rotation():
    shape = {"type": "ellipse", "label_id": 1, "points": [30, 20, 50, 10], "rotation": 30}
    jpeg = shrink_image(PIL.Image.new("RGB", (64, 48)), "a frame")
    frame = AnnotatedFrame(Frame(0, "a.png", 64, 48), jpeg, [], [shape])
    ellipse = ET.fromstring(render_frame(frame, {1: "car"})).find(f".//{SVG}ellipse")
    assert ellipse.get("transform") == "rotate(30 30 20)"


@pytest.mark.parametrize(("size", "expected"), [((2000, 1000), (640, 320)), ((500, 2000), (160, 640))])
def test_width_is_the_length_of_the_longer_side(size, expected):
    frame = AnnotatedFrame(
        Frame(0, "a.png", *size), shrink_image(PIL.Image.new("RGB", size), "a frame"), [], []
    )
    svg = render_frame(frame, {}, width=640)
    root = ET.fromstring(svg)
    assert (int(root.get("width")), int(root.get("height"))) == image_in(svg).size == expected


def test_names_from_the_server_are_escaped():
    hostile = '"/><script>alert(1)</script>&\x00\x1b\ud800\uffff'
    shape = {"type": "rectangle", "label_id": 1, "points": [1, 1, 9, 9]}
    jpeg = shrink_image(PIL.Image.new("RGB", (64, 48)), "a frame")
    frame = AnnotatedFrame(Frame(0, hostile, 64, 48), jpeg, [], [shape])
    svg = render_frame(frame, {1: hostile})
    root = ET.fromstring(svg)
    assert root.find(f".//{SVG}script") is None
    assert texts(svg)[0].startswith('"/><script>alert(1)</script>&')
    assert root.get("aria-label") == texts(svg)[0]


# --- annotations on some frames ---


def test_tracks_are_interpolated_between_keyframes():
    keyframe = {"type": "rectangle", "outside": False, "rotation": 0}
    track = {
        "label_id": 1,
        "shapes": [
            {**keyframe, "frame": 0, "points": [0, 0, 10, 10]},
            {**keyframe, "frame": 10, "points": [20, 0, 30, 10]},
            {**keyframe, "frame": 12, "points": [20, 0, 30, 10], "outside": True},
        ],
    }
    shape = {"type": "rectangle", "frame": 5, "label_id": 1, "points": [1, 1, 2, 2]}
    found = annotations_on([("shapes", shape), ("tracks", track), ("tracks", track)], [5, 11, 12], [1])
    assert found[5].shapes[0] == shape
    assert [(s["track"], s["points"], s["label_id"]) for s in found[5].shapes[1:]] == [
        (1, [10, 0, 20, 10], 1),
        (2, [10, 0, 20, 10], 1),
    ]
    assert {frame: (on.count, len(on.shapes)) for frame, on in found.items()} == {
        5: (3, 3),
        11: (2, 2),
        12: (0, 0),
    }


def test_annotations_beyond_the_limit_and_of_unknown_labels_are_skipped():
    shapes = (
        ("shapes", {"type": "points", "frame": n % 2, "label_id": n % 2, "points": [0, 0]})
        for n in range(1000)
    )
    found = annotations_on(shapes, [0, 1], [1], limit=7)
    assert [(on.count, len(on.shapes)) for on in found.values()] == [(0, 0), (500, 7)]


# --- frames of a task ---


def test_draws_the_frame_with_most_annotations_of_each_quarter(client, make_task, asked):
    task_id = make_task(16, segment_size=4)
    annotate_task(client, task_id, boxes({1: 2, 2: 3, 3: 1, 4: 1, 12: 1, 14: 5, 15: 2}))
    asked.clear()
    numbers, pictures = drawn(client, task_id)
    assert numbers == [2, 4, 14]
    assert [texts(picture.svg) for picture in pictures] == [["car 0.75"] * count for count in (3, 1, 5)]
    assert pictures[0].description == "frame 2 (0002.png): 3 annotations"
    assert [number for what, number in asked if what == "chunk"] == [1, 2, 7]


def test_reads_at_most_max_frames_jobs_across_the_task(client, make_task, asked):
    task_id = make_task(18, segment_size=2, chunk_size=1)
    annotate_task(client, task_id, boxes(dict.fromkeys(range(18), 1)))
    asked.clear()
    numbers, _ = drawn(client, task_id, max_frames=3)
    jobs = [job.id for job in client.jobs(task_id)]
    assert {number for what, number in asked if what == "job"} == {jobs[0], jobs[3], jobs[6]}
    assert numbers == [0, 6, 12]
    assert len([what for what, _ in asked if what == "chunk"]) == 3


def test_draws_only_frames_of_the_plan(client, make_task):
    task_id = make_task(8)
    annotate_task(client, task_id, boxes({0: 5, 1: 1, 6: 1}))
    assert drawn(client, task_id, Selection(frames=[1, 2, 3]))[0] == [1]


def test_manual_annotations_are_drawn_only_beside_automatic_ones(client, make_task, asked):
    task_id = make_task(8)
    [job], car = client.jobs(task_id), client.labels(task_id)[0].id
    human = {"type": "rectangle", "label_id": car, "source": "manual", "points": [1, 1, 9, 9]}
    client.create_job_annotations(job.id, {"shapes": [{**human, "frame": frame} for frame in (0, 5)]})
    assert drawn(client, task_id)[0] == []
    assert not [what for what, _ in asked if what == "chunk"]
    annotate_task(client, task_id, boxes({0: 1}))
    [number], [picture] = drawn(client, task_id)
    assert number == 0
    assert sorted(texts(picture.svg)) == ["car 0.75", "car 1.00"]


def test_frame_of_two_jobs_has_each_shape_once(client, make_task):
    task_id = make_task(6, segment_size=4, overlap=2)
    annotate_task(client, task_id, boxes({2: 1, 3: 3}))
    numbers, pictures = drawn(client, task_id, max_frames=1)
    assert numbers == [3]
    assert texts(pictures[0].svg) == ["car 0.75"] * 3


def test_description_lists_tags(client, make_task):
    task_id = make_task(1)
    function = SimpleNamespace(spec=SPEC, detect=lambda context, image: [tag(8)])
    annotate_task(client, task_id, function)
    [_], [picture] = drawn(client, task_id)
    assert picture.description == "frame 0 (0000.png): 1 annotation; tags: person"


def test_tracks_of_a_video_are_drawn_on_their_frames(client, video_task):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    spec = DetectionFunctionSpec(labels=[label_spec("car", 7)])
    function = SimpleNamespace(spec=spec, detect=lambda context, image: [rectangle(7, [10, 10, 40, 40])])
    task_id = video_task(clip(range(24)), segment_size=10)
    track_task(client, task_id, function)
    numbers, pictures = drawn(client, task_id)
    assert len(numbers) == 4
    assert [number_on(image_in(picture.svg)) for picture in pictures] == numbers
    assert [texts(picture.svg) for picture in pictures] == [["car #1"]] * 4


def test_size_of_a_drawing_is_bounded(client):
    noise = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    task = client.create_task("noise", [label_spec("car", None), label_spec("person", None)])
    client.upload_images(task.id, {"0000.jpg": buffer.getvalue()})
    bitmaps = np.random.default_rng(1).random((400, 40, 50)) < 0.5

    masks = [mask(8, encode_mask(bitmap, [0, 0, 50, 40])) for bitmap in bitmaps]
    annotate_task(client, task.id, SimpleNamespace(spec=SPEC, detect=lambda context, image: masks))
    [_], [picture] = drawn(client, task.id)
    assert MAX_BYTES / 3 < len(picture.svg.encode()) <= MAX_BYTES
    shown = len(ET.fromstring(picture.svg).findall(f"{SVG}g"))
    assert 0 < shown < MAX_ANNOTATIONS
    assert picture.description == f"frame 0 (0000.jpg): 400 annotations; {shown} shapes are drawn"
    assert max(image_in(picture.svg).size) <= 640


def test_draws_at_most_a_thousand_shapes_of_a_frame():
    box = {"type": "rectangle", "label_id": 1, "points": [1, 1, 9, 9]}
    jpeg = shrink_image(PIL.Image.new("RGB", (64, 48)), "a frame")
    frame = AnnotatedFrame(Frame(0, "a.png", 64, 48), jpeg, [], [box] * 16_000)
    svg = render_frame(frame, {1: "car"})
    assert len(ET.fromstring(svg).findall(f"{SVG}g")) == 1000
    assert len(texts(svg)) == 5  # more would be far from their boxes


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "I;16", "LA"])
def test_shrinks_images_of_each_mode(mode):
    jpeg = shrink_image(PIL.Image.new(mode, (4000, 1000)), "a frame", 400)
    with PIL.Image.open(io.BytesIO(jpeg)) as image:
        assert (image.size, image.mode, image.format) == ((400, 100), "RGB", "JPEG")
