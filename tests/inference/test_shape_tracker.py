"""ShapeTracker: input of a tracking function, and its results."""

import threading
from types import SimpleNamespace

import cvat_sdk.auto_annotation as sdk
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictures import picture
from prefect_cvat.auto_annotation import BadFunctionError, TrackableShape, TrackingFunctionSpec
from prefect_cvat.exceptions import MediaError, UnsupportedTaskError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_tracker import ShapeToTrack, ShapeTracker
from prefect_cvat.masks import encode_mask
from prefect_cvat.media.image_chunk import read_image

WIDTH, HEIGHT = 100, 50


def frame(number, width=WIDTH, height=HEIGHT):
    return Frame(number, f"{number:04}.png", width, height)


def image(width=WIDTH, height=HEIGHT):
    return PIL.Image.new("RGB", (width, height))


class Shift:
    """Moves every shape by ten pixels to the right, written with one of the two libraries."""

    def __init__(self, lib=None, types=("rectangle", "points", "polygon", "mask"), lose_at=None):
        self.lib = lib or SimpleNamespace(
            TrackingFunctionSpec=TrackingFunctionSpec, TrackableShape=TrackableShape
        )
        self.spec = self.lib.TrackingFunctionSpec(supported_shape_types=set(types))
        self.calls = []
        self.lose_at = lose_at

    def preprocess_image(self, context, image):
        self.calls.append("preprocess")
        return {"image": image}

    def init_tracking_state(self, context, pp_image, shape):
        assert pp_image["image"].size == (WIDTH, HEIGHT)
        self.calls.append(f"init {context.original_shape_type}")
        return {"points": list(shape.points), "steps": 0}

    def track(self, context, pp_image, state):
        self.calls.append("track")
        state["steps"] += 1
        if state["steps"] == self.lose_at:
            return None
        step = [10 if i % 2 == 0 else 0 for i in range(len(state["points"]))]
        state["points"] = [a + b for a, b in zip(state["points"], step, strict=True)]
        return self.lib.TrackableShape(type=context.original_shape_type, points=state["points"])


@pytest.mark.parametrize("lib", [None, sdk], ids=["ours", "sdk"])
def test_shapes_are_tracked_from_frame_to_frame(lib):
    tracker = ShapeTracker(Shift(lib))
    assert tracker.advance(frame(0), image(), [ShapeToTrack("a", "rectangle", [0, 10, 20, 30])]) == []
    found = tracker.advance(frame(1), image(), [ShapeToTrack("b", "points", [5, 5])])
    assert found == [("a", TrackableShape(type="rectangle", points=[10, 10, 30, 30]))]
    found = dict(tracker.advance(frame(2), image()))
    assert found["a"].points == [20, 10, 40, 30]
    assert found["b"].points == [15, 5]
    assert all(type(shape) is TrackableShape for shape in found.values())


def test_image_is_preprocessed_once_for_all_shapes_and_not_without_shapes():
    function = Shift()
    tracker = ShapeTracker(function)
    tracker.advance(frame(0), image())
    assert function.calls == []
    tracker.advance(frame(1), image(), [ShapeToTrack(i, "points", [i, i]) for i in range(3)])
    tracker.advance(frame(2), image(), [ShapeToTrack(9, "points", [1, 1])])
    assert function.calls.count("preprocess") == 2
    assert function.calls.count("track") == 3


def test_an_image_without_shapes_is_not_decoded():
    tracker = ShapeTracker(Shift())
    broken = broken_image()
    assert tracker.advance(frame(0), broken) == []


def broken_image():
    return read_image(picture(WIDTH, HEIGHT)[:-200], frame(0))


def test_a_function_without_preprocess_image_gets_the_image_itself():
    class Plain:
        spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})

        def init_tracking_state(self, context, pp_image, shape):
            return [pp_image]

        def track(self, context, pp_image, state):
            state.append(pp_image)
            seen.extend(state)

    seen = []
    tracker = ShapeTracker(Plain())
    first, second = image(), image()
    tracker.advance(frame(0), first, [ShapeToTrack(1, "rectangle", [0, 0, 5, 5])])
    assert tracker.advance(frame(1), second) == []
    assert seen[0] is first
    assert seen[1] is second


def test_new_source_shape_replaces_the_tracked_shape():
    function = Shift()
    tracker = ShapeTracker(function)
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "rectangle", [0, 0, 10, 10])])
    assert tracker.advance(frame(1), image(), [ShapeToTrack("a", "rectangle", [50, 0, 60, 10])]) == []
    assert "track" not in function.calls
    [(_, shape)] = tracker.advance(frame(2), image())
    assert shape.points == [60, 0, 70, 10]


def test_lost_shapes_are_not_tracked_further():
    function = Shift(lose_at=2)
    tracker = ShapeTracker(function)
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "points", [1, 1])])
    assert tracker.active == ["a"]
    assert len(tracker.advance(frame(1), image())) == 1
    assert tracker.advance(frame(2), image()) == []
    assert tracker.active == []
    calls = list(function.calls)
    assert tracker.advance(frame(3), image()) == []
    assert function.calls == calls


def test_shapes_are_clipped_at_the_edge_and_lost_outside():
    tracker = ShapeTracker(Shift())
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "rectangle", [65, 0, 85, 10])])
    ends = []
    for number in range(1, 6):
        ends += [shape.points for _, shape in tracker.advance(frame(number), image())]
    assert ends == [[75, 0, 95, 10], [85, 0, 100, 10], [95, 0, 100, 10]]
    assert tracker.active == []


def test_rotated_rectangle_is_not_clipped():
    tracker = ShapeTracker(Shift())
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "rectangle", [75, 0, 95, 10], rotation=30)])
    [(_, shape)] = tracker.advance(frame(1), image())
    assert shape.points == [85, 0, 105, 10]


def test_dropped_shapes_are_not_tracked_further():
    tracker = ShapeTracker(Shift())
    tracker.advance(frame(0), image(), [ShapeToTrack(key, "points", [1, 1]) for key in "abc"])
    tracker.drop(["b", "unknown"])
    assert [key for key, _ in tracker.advance(frame(1), image())] == ["a", "c"]


def test_two_source_shapes_with_the_same_key_are_refused():
    with pytest.raises(ValueError, match=r"frame 0 \(0000.png\): .* same key"):
        ShapeTracker(Shift()).advance(frame(0), image(), [ShapeToTrack("a", "points", [1, 1])] * 2)


def test_change_of_image_size_ends_tracks():
    tracker = ShapeTracker(Shift())
    tracker.advance(frame(0), image(40, 40))  # nothing is followed: it does no harm
    tracker.advance(frame(1), image(), [ShapeToTrack("a", "points", [1, 1])])
    with pytest.raises(UnsupportedTaskError, match=r"frame 2 .* is 101x50 pixels, .* before it 100x50"):
        tracker.advance(frame(2, WIDTH + 1), image(WIDTH + 1))
    assert tracker.active == []
    assert tracker.advance(frame(3), image(), [ShapeToTrack("a", "points", [1, 1])]) == []
    assert len(tracker.advance(frame(4), image())) == 1


def without(name):
    function = SimpleNamespace(
        spec=TrackingFunctionSpec(supported_shape_types=set()), init_tracking_state=print, track=print
    )
    delattr(function, name)
    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (without("spec"), "its spec is 'NoneType'"),
        (without("track"), "it has no 'track'"),
        (without("init_tracking_state"), "it has no 'init_tracking_state'"),
        (
            SimpleNamespace(spec=sdk.DetectionFunctionSpec(labels=[])),
            "'DetectionFunctionSpec' .expected 'Trac",
        ),
    ],
)
def test_other_functions_than_tracking_functions_are_refused(function, message):
    with pytest.raises(BadFunctionError, match=message):
        ShapeTracker(function)


def test_types_that_the_function_does_not_support_are_refused():
    tracker = ShapeTracker(Shift(types=["points", "polygon"]))
    with pytest.raises(
        BadFunctionError, match="cannot track .* ellipse, rectangle; it can .* points, polygon"
    ):
        tracker.check_types(["points", "rectangle", "ellipse"])
    with pytest.raises(BadFunctionError, match="cannot track shapes of type mask"):
        tracker.advance(frame(0), image(), [ShapeToTrack("a", "mask", [0, 1, 0, 0, 0, 0])])


def returning(output):
    def track(context, pp_image, state):
        if isinstance(output, Exception):
            raise output
        return output

    return SimpleNamespace(
        spec=TrackingFunctionSpec(supported_shape_types={"rectangle", "mask", "polygon"}),
        init_tracking_state=lambda context, pp_image, shape: None,
        track=track,
    )


def a_shape(type="rectangle", points=(0, 0, 1, 1)):
    return SimpleNamespace(type=type, points=points)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (3, "an object of type 'int'"),
        (a_shape("polygon"), "type 'polygon' .expected 'rectangle'"),
        (a_shape(points=[1, 2, 3]), "rectangle with 3 numbers"),
        (a_shape(points=[1, 2, 3, float("nan")]), "not finite"),
        (a_shape(points=[1, 2, 3, 1e30]), "out of range"),
        (a_shape(points=["a", 2, 3, 4]), "bad points.0"),
        (a_shape(points=None), "bad points"),
        (ZeroDivisionError("by zero"), "failed: ZeroDivisionError: by zero"),
        (BadFunctionError("no weights"), "no weights"),
    ],
)
def test_contract_errors_name_frame_and_shape(output, message):
    tracker = ShapeTracker(returning(output))
    tracker.advance(frame(3), image(), [ShapeToTrack("a", "rectangle", [0, 0, 5, 5])])
    with pytest.raises(BadFunctionError, match=rf"frame 4 \(0004.png\).*rectangle 'a'.*{message}"):
        tracker.advance(frame(4), image())


def test_a_failing_init_names_frame_and_shape():
    function = returning(None)
    function.init_tracking_state = lambda *_: 1 / 0
    with pytest.raises(
        BadFunctionError, match="frame 0 .*init_tracking_state of mask 7 failed: ZeroDivision"
    ):
        ShapeTracker(function).advance(frame(0), image(), [ShapeToTrack(7, "mask", [0, 1, 0, 0, 0, 0])])


def test_broken_image_is_a_media_error():
    function = returning(None)
    function.preprocess_image = lambda context, image: np.asarray(image)
    with pytest.raises(MediaError, match="frame 0 .* is broken"):
        ShapeTracker(function).advance(frame(0), broken_image(), [ShapeToTrack(1, "rectangle", [0, 0, 5, 5])])


def test_masks_may_be_arrays_and_are_clipped():
    bitmap = np.ones((10, 10), dtype=bool)
    tracker = ShapeTracker(returning(a_shape("mask", np.array(encode_mask(bitmap, offset=(95, 0))))))
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "mask", encode_mask(bitmap))])
    [(_, shape)] = tracker.advance(frame(1), image())
    assert shape.points == [0, 50, 95, 0, 99, 9]


def test_objects_with_locks_can_be_states():
    function = returning(a_shape())
    function.init_tracking_state = lambda *_: threading.Lock()
    tracker = ShapeTracker(function)
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "rectangle", [0, 0, 5, 5])])
    assert tracker.advance(frame(1), image())


@given(
    st.lists(st.floats(-200, 200, allow_nan=False), min_size=4, max_size=4),
)
def test_rectangles_that_return_are_inside_the_image(points):
    tracker = ShapeTracker(returning(a_shape(points=points)))
    tracker.advance(frame(0), image(), [ShapeToTrack("a", "rectangle", [0, 0, 5, 5])])
    for _, shape in tracker.advance(frame(1), image()):
        x1, y1, x2, y2 = shape.points
        assert 0 <= x1 < x2 <= WIDTH
        assert 0 <= y1 < y2 <= HEIGHT
