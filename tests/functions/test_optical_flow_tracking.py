"""Optical flow on a real photograph that is panned, zoomed and turned, and on a real video."""

import math

import numpy as np
import PIL.Image
import pytest
import skimage.data

from prefect_cvat.auto_annotation.functions import optical_flow_tracking
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_tracker import ShapeToTrack, ShapeTracker
from prefect_cvat.masks import polygon_to_mask

pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")

WIDTH, HEIGHT = 320, 240
FRAMES = 30
PHOTOS = {"astronaut": (skimage.data.astronaut, 190, 130), "coffee": (skimage.data.coffee, 300, 190)}


def camera(number, x, y, *, pan=(2.3, 1.1), zoom=1.0, turn=0.0):
    """Maps coordinates of a frame to the photograph, for a camera that moves steadily around (x, y)."""
    scale, angle = zoom**-number, math.radians(turn * number)
    centre = np.array([x, y]) + number * np.array(pan)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    matrix[:2, 2] = centre - matrix[:2, :2] @ (WIDTH / 2, HEIGHT / 2)
    return matrix


def film(photo, motion):
    load, x, y = PHOTOS[photo]
    image = PIL.Image.fromarray(load())
    for number in range(FRAMES + 1):
        matrix = camera(number, x, y, **motion)
        yield (
            Frame(number, f"{number}.png", WIDTH, HEIGHT),
            matrix,
            image.transform(
                (WIDTH, HEIGHT),
                PIL.Image.Transform.AFFINE,
                tuple(matrix[:2].ravel()),
                PIL.Image.Resampling.BILINEAR,
            ),
        )


def follow(frames, shape_type, points, **parameters):
    """The true and the tracked position of the shape, on each frame after the first."""
    tracker = ShapeTracker(optical_flow_tracking.create(**parameters))
    seeds = [ShapeToTrack("shape", shape_type, points)]
    start = np.asarray(points, dtype=float).reshape(-1, 2)
    first = None
    for frame, matrix, image in frames:
        found = dict(tracker.advance(frame, image, seeds))
        if first is None:
            first, seeds = matrix, []
            continue
        way = np.linalg.inv(matrix) @ first
        truth = start @ way[:2, :2].T + way[:2, 2]
        shape = found.get("shape")
        yield truth, None if shape is None else np.array(shape.points).reshape(-1, 2)


def iou(one, other):
    if len(one) == 2:
        width, height = (np.minimum(one, other)[1] - np.maximum(one, other)[0]).clip(0)
        common = width * height
        return common / (np.ptp(one, axis=0).prod() + np.ptp(other, axis=0).prod() - common)
    a, b = (polygon_to_mask(each.ravel(), image_width=WIDTH, image_height=HEIGHT) for each in (one, other))
    return (a & b).sum() / (a | b).sum()


MOTIONS = {
    "pan": {},
    "fast pan": {"pan": (-4, 3)},
    "zoom in": {"pan": (0.5, 0), "zoom": 1.015},
    "zoom out": {"pan": (0, 0.5), "zoom": 0.985},
}
BOX = [130, 80, 190, 160]


@pytest.mark.parametrize(
    ("photo", "motion"),
    [*(("astronaut", name) for name in MOTIONS), ("coffee", "pan"), ("coffee", "zoom out")],
)
def test_rectangles_are_tracked(photo, motion):
    followed = list(follow(film(photo, MOTIONS[motion]), "rectangle", BOX))
    assert len(followed) == FRAMES
    inside = [(a, b) for a, b in followed if (a >= 0).all() and (a <= (WIDTH, HEIGHT)).all()]
    assert len(inside) >= 20
    assert min(0 if b is None else iou(a, b) for a, b in inside) > 0.85


@pytest.mark.parametrize("motion", [*MOTIONS.values(), {"turn": 2}], ids=[*MOTIONS, "turn"])
def test_polygons_are_tracked_and_rotated(motion):
    polygon = [130, 80, 190, 90, 200, 150, 160, 165, 120, 140]
    followed = list(follow(film("astronaut", motion), "polygon", polygon))
    inside = [(a, b) for a, b in followed if (a >= 0).all() and (a <= (WIDTH, HEIGHT)).all()]
    assert len(inside) >= 20
    assert min(0 if b is None else iou(a, b) for a, b in inside) > 0.85


@pytest.mark.parametrize("shape_type", ["points", "polyline"])
@pytest.mark.parametrize("motion", [*MOTIONS.values(), {"turn": 2}], ids=[*MOTIONS, "turn"])
def test_points_are_tracked_one_by_one(motion, shape_type):
    points = [140, 90, 185, 95, 180, 140, 150, 150]
    followed = list(follow(film("astronaut", motion), shape_type, points))[:20]
    errors = [np.inf if b is None else np.linalg.norm(a - b, axis=1).max() for a, b in followed]
    assert max(errors) < 6


def test_tracked_ellipse_remains_an_ellipse():
    ellipse = [160, 120, 190, 80]
    (truth, found) = list(follow(film("astronaut", {"pan": (1, 0), "zoom": 1.01}), "ellipse", ellipse))[9]
    assert np.abs(found - truth).max() < 2


def test_tracking_backwards_returns_to_the_first_box():
    frames = list(film("astronaut", {}))[:16]
    *_, (_, there) = follow(frames, "rectangle", BOX)
    *_, (_, back) = follow(frames[::-1], "rectangle", there.ravel())
    assert iou(np.reshape(BOX, (2, 2)), back) > 0.9


def test_object_that_leaves_the_image_is_lost():
    followed = list(follow(film("astronaut", {"pan": (12, 0)}), "rectangle", BOX))
    gone = [truth[:, 0].max() < -30 for truth, _ in followed]
    assert any(gone)
    assert all(found is None for (_, found), is_gone in zip(followed, gone, strict=True) if is_gone)


@pytest.mark.parametrize(("shape_type", "points"), [("rectangle", BOX), ("points", [150, 100])])
def test_hidden_object_is_lost_after_patience_frames(shape_type, points):
    def hidden_from_frame_5():
        for frame, matrix, image in film("astronaut", {"pan": (1, 0)}):
            if frame.number >= 5:
                image.paste((90, 140, 90), (0, 0, WIDTH, HEIGHT))
            yield frame, matrix, image

    found = [found is not None for _, found in follow(hidden_from_frame_5(), shape_type, points, patience=3)]
    last = 7 if shape_type == "rectangle" else 4  # points wait for nothing
    assert found == [number <= last for number in range(1, FRAMES + 1)]


def test_object_on_a_static_background_is_tracked():
    """Most of its box is background."""
    background = PIL.Image.fromarray(skimage.data.coffee()).resize((WIDTH, HEIGHT))
    thing = PIL.Image.fromarray(skimage.data.astronaut()).crop((150, 0, 300, 260)).resize((30, 60))

    def frames():
        for number in range(FRAMES + 1):
            image = background.copy()
            image.paste(thing, (40 + 5 * number, 60 + 2 * number))
            shift = np.eye(3)
            shift[:2, 2] = -5 * number, -2 * number
            yield Frame(number, "", WIDTH, HEIGHT), shift, image

    followed = list(follow(frames(), "rectangle", [30, 52, 80, 128]))
    assert min(0 if b is None else iou(a, b) for a, b in followed) > 0.6


PEDESTRIANS = {
    "coming nearer": (102, [497, 146, 523, 215], 80, [444, 174, 474, 252]),
    "from the edge": (42, [731, 281, 768, 392], 82, [566, 185, 596, 277]),
    "going away": (82, [566, 185, 596, 277], 122, [661, 126, 680, 198]),
    "and back again": (122, [661, 126, 680, 198], 82, [566, 185, 596, 277]),
}
"""Where NanoDet sees a pedestrian on two frames, looked through by eye."""


@pytest.fixture(scope="session")
def video(test_data):
    av = pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")
    with av.open(str(test_data / "video" / "pedestrians.mp4")) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.mark.parametrize("pedestrian", PEDESTRIANS.values(), ids=PEDESTRIANS)
def test_pedestrians_are_tracked_for_dozens_of_frames(video, pedestrian):
    first, box, last, expected = pedestrian
    step = 1 if last > first else -1
    tracker = ShapeTracker(optical_flow_tracking.create())
    seeds = [ShapeToTrack("pedestrian", "rectangle", box)]
    for number in range(first, last + step, step):
        found = tracker.advance(Frame(number, f"{number}", 768, 576), video[number], seeds)
        seeds = []
    [(_, shape)] = found
    assert iou(np.reshape(shape.points, (2, 2)), np.reshape(expected, (2, 2))) > 0.5


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_images_of_any_mode_are_accepted(mode):
    frames = [
        (frame, matrix, _as_mode(image, mode)) for frame, matrix, image in list(film("astronaut", {}))[:4]
    ]
    assert all(found is not None for _, found in follow(frames, "rectangle", BOX))


def _as_mode(image, mode):
    if mode == "I;16":
        return PIL.Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 16)
    return image.convert(mode)


@pytest.mark.parametrize(
    ("shape_type", "points"),
    [
        ("rectangle", [10, 10, 10.5, 10.5]),
        ("rectangle", [-50, -50, 5, 5]),
        ("rectangle", [0, 0, WIDTH, HEIGHT]),
        ("rectangle", [500, 500, 600, 600]),
        ("polygon", [10, 10, 20, 20, 30, 30]),
        ("ellipse", [10, 10, 10, 10]),
        ("points", [-5, -5, 1000, 1000]),
        ("polyline", [0, 0, WIDTH, HEIGHT]),
    ],
)
def test_unusual_shapes_are_handled(shape_type, points):
    for _ in follow(list(film("astronaut", {}))[:4], shape_type, points):
        pass


def test_tiny_images_are_handled():
    tracker = ShapeTracker(optical_flow_tracking.create())
    image = PIL.Image.new("RGB", (3, 2))
    tracker.advance(Frame(0, "a", 3, 2), image, [ShapeToTrack("a", "rectangle", [0, 0, 3, 2])])
    tracker.advance(Frame(1, "b", 3, 2), image)


@pytest.mark.parametrize("parameters", [{"min_similarity": 2}, {"patience": -1}])
def test_numbers_out_of_range_are_refused(parameters):
    with pytest.raises(FunctionLoadError, match="must be"):
        load_function("optical_flow_tracking", parameters)


def test_missing_opencv_error_names_what_to_install(monkeypatch):
    from prefect_cvat.auto_annotation.functions import _optical_flow

    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    _optical_flow.import_opencv.cache_clear()
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[video\]"'):
        load_function("optical_flow_tracking")
    monkeypatch.undo()
    _optical_flow.import_opencv.cache_clear()
