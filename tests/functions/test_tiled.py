import itertools
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import skimage.data
import skimage.measure
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    ellipse,
    keypoint,
    keypoint_spec,
    label_spec,
    mask,
    polygon,
    rectangle,
    skeleton,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.auto_annotation.functions import tiled
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.masks import encode_mask

CONTEXT = SimpleNamespace(frame_name="frame.png", conf_threshold=None, conv_mask_to_poly=False)


class SpotFunction:
    """Finds spots: connected areas of one grey value. It sees nothing smaller than 1/40 of an image."""

    spec = DetectionFunctionSpec(labels=[label_spec("dark", 100), label_spec("light", 200)])
    version = "1"

    def __init__(self, make=lambda label_id, box, area: rectangle(label_id, box, score=area)):
        self.make = make
        self.sizes = []

    def detect(self, context, image):
        self.sizes.append(image.size)
        values = np.asarray(image, dtype=int)
        found = []
        for region in skimage.measure.regionprops(skimage.measure.label(values)):
            top, left, bottom, right = region.bbox
            if max(bottom - top, right - left) >= max(image.size) / 40:
                label_id = int(values[region.coords[0][0], region.coords[0][1]])
                found.append(self.make(label_id, [left, top, right, bottom], region.area / values.size))
        return found


def spots(size, *boxes):
    values = np.zeros(size[::-1], np.uint8)
    for index, (left, top, right, bottom) in enumerate(boxes):
        values[top:bottom, left:right] = (100, 200)[index % 2]
    return PIL.Image.fromarray(values)


def one_spot():
    values = np.zeros((400, 400), np.uint8)
    values[130:170, 130:170] = 100
    return PIL.Image.fromarray(values)


def found_boxes(annotations):
    return sorted((annotation.label_id, *annotation.points) for annotation in annotations)


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.integers(50, 200),
    st.floats(0, 0.9),
)
@settings(deadline=None, max_examples=50)
def test_tiles_cover_the_image_and_overlap(size, tile, overlap):
    function = tiled.create(SpotFunction(), tile=tile, overlap=overlap)
    image = PIL.Image.new("L", size)
    tiles = list(function._tiles(image))
    if max(size) <= tile:
        assert tiles == []
        return
    for axis in (0, 1):
        spans = sorted({(each[axis], each[axis + 2]) for each in tiles})
        assert spans[0][0] == 0
        assert spans[-1][1] == size[axis]
        for (start, end), (next_start, _) in itertools.pairwise(spans):
            assert end - start == tile
            assert end - next_start >= int(overlap * tile) - 1
    assert len(set(tiles)) == len(tiles)


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(6, 39), st.integers(6, 39)), max_size=8
    )
)
@settings(deadline=None, max_examples=30)
def test_small_objects_are_found_once_at_any_position(places):
    # At most one in each field of 80 pixels, so that they do not touch.
    fields = {(column, row): (width, height) for column, row, width, height in places}
    boxes = [
        (80 * column + 20, 80 * row + 20, 80 * column + 20 + width, 80 * row + 20 + height)
        for (column, row), (width, height) in fields.items()
    ]
    image = spots((1100, 820), *boxes)
    function = tiled.create(SpotFunction(), tile=240, overlap=0.2)
    expected = sorted(((100, 200)[index % 2], *box) for index, box in enumerate(boxes))
    assert found_boxes(function.detect(CONTEXT, image)) == expected


def test_alone_the_function_would_miss_small_objects():
    image = spots((1100, 820), (20, 20, 30, 30))
    assert SpotFunction().detect(CONTEXT, image) == []


def test_object_larger_than_a_tile_is_found_whole_and_its_pieces_are_not():
    image = spots((1100, 820), (50, 60, 900, 700), (950, 60, 960, 70))
    found = tiled.create(SpotFunction(), tile=240).detect(CONTEXT, image)
    assert found_boxes(found) == [(100, 50, 60, 900, 700), (200, 950, 60, 960, 70)]


def test_object_of_another_label_within_a_large_one_is_kept():
    image = spots((1100, 820), (50, 60, 900, 700), (400, 300, 500, 400))
    found = tiled.create(SpotFunction(), tile=240).detect(CONTEXT, image)
    assert (200, 400, 300, 500, 400) in found_boxes(found)


@pytest.mark.parametrize(("iou_across_labels", "labels"), [(0.8, [100]), (1.0, [100, 200])])
def test_labels_compete_after_merging_as_they_do_within_the_function(iou_across_labels, labels):
    """On the tile an object is taken for something else than on the whole image."""

    class Doubtful(SpotFunction):
        def detect(self, context, image):
            label_id = 100 if max(image.size) <= 240 else 200
            found = super().detect(context, image)
            return [each.model_copy(update={"label_id": label_id}) for each in found]

    function = Doubtful(lambda label_id, box, area: rectangle(label_id, box, score=area))
    function.iou_across_labels = iou_across_labels
    found = tiled.create(function, tile=240, overlap=0.5).detect(CONTEXT, one_spot())
    assert sorted(each.label_id for each in found) == labels


def test_image_not_larger_than_a_tile_is_detected_on_once():
    function = SpotFunction()
    tiled.create(function, tile=300).detect(CONTEXT, spots((300, 200), (5, 5, 40, 40)))
    assert function.sizes == [(300, 200)]


def test_shapes_are_ordered_by_score():
    image = spots((600, 400), (20, 20, 40, 40), (100, 100, 190, 190), (300, 300, 360, 330))
    scores = [shape.score for shape in tiled.create(SpotFunction(), tile=240).detect(CONTEXT, image)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def encoded(label_id, box, area):
    left, top, right, bottom = box
    return mask(label_id, encode_mask(np.ones((bottom - top, right - left), bool), offset=(left, top)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (encoded, [0, 500, 530, 310, 549, 334]),
        (
            lambda label_id, box, area: polygon(label_id, [box[0], box[1], box[2], box[1], box[2], box[3]]),
            [530, 310, 550, 310, 550, 335],
        ),
        (
            lambda label_id, box, area: ellipse(
                label_id, [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2], box[1]]
            ),
            [540, 322.5, 550, 310],
        ),
    ],
)
def test_shapes_of_all_types_are_moved_into_the_image(make, expected):
    image = spots((1100, 820), (530, 310, 550, 335))
    (found,) = tiled.create(SpotFunction(make), tile=240).detect(CONTEXT, image)
    assert found.points == expected


def test_skeletons_are_moved_into_the_image():
    def make(label_id, box, area):
        corners = [keypoint(0, box[:2]), keypoint(1, box[2:]), keypoint(2, [0, 0], outside=True)]
        return skeleton(label_id, corners, score=area)

    function = SpotFunction(make)
    sublabels = [keypoint_spec(name, index) for index, name in enumerate("abc")]
    function.spec = DetectionFunctionSpec(labels=[skeleton_label_spec("dark", 100, sublabels)])
    image = spots((1100, 820), (530, 310, 550, 335))
    (found,) = tiled.create(function, tile=240).detect(CONTEXT, image)
    assert [element.points for element in found.elements[:2]] == [[530, 310], [550, 335]]


def test_tags_are_those_of_the_whole_image():
    class Tags(SpotFunction):
        def detect(self, context, image):
            return [tag(100 if image.width > 240 else 200)]

    found = tiled.create(Tags(), tile=240).detect(CONTEXT, PIL.Image.new("L", (500, 500)))
    assert [each.label_id for each in found] == [100]


def test_tags_of_tiles_are_ignored():
    class Tags(SpotFunction):
        def detect(self, context, image):
            return [] if image.width > 240 else [tag(200)]

    assert tiled.create(Tags(), tile=240).detect(CONTEXT, PIL.Image.new("L", (500, 500))) == []


def test_detector_finds_small_people_that_it_misses_on_the_whole_image(context):
    astronaut = PIL.Image.fromarray(skimage.data.astronaut())
    image = PIL.Image.new("RGB", (2400, 1600), (110, 110, 110))
    places = [(60, 80), (900, 500), (1800, 1000)]
    for place in places:
        image.paste(astronaut.resize((160, 160)), place)
    function = tiled.create("nanodet_detection", tile=416, device="cpu", score_threshold=0.5)

    def people(annotations):
        return [shape for shape in annotations if shape.label_id == 0]

    assert people(function.function.detect(context(), image)) == []
    found = people(function.detect(context(), image))
    assert len(found) == 3
    for x, y in places:
        inside = [s for s in found if x - 5 <= s.points[0] and y - 5 <= s.points[1]]
        assert any(s.points[2] <= x + 165 and s.points[3] <= y + 165 for s in inside)


def test_settings_are_part_of_the_version():
    versions = {
        tiled.create(SpotFunction(), **options).version
        for options in ({}, {"tile": 100}, {"overlap": 0.3}, {"iou": 0.4}, {"tile": 640})
    }
    assert len(versions) == 4


def test_tiled_function_has_no_version_if_the_function_has_none():
    class Unversioned:
        spec = SpotFunction.spec

    assert not hasattr(tiled.create(Unversioned()), "version")
    assert tiled.create(Unversioned()).device is None
    tiled.create(Unversioned()).close()


def test_close_closes_the_function():
    function = tiled.create("nanodet_detection", device="cpu")
    assert function.device == "cpu"
    assert len(function.spec.labels) == 80
    function.close()
    with pytest.raises(RuntimeError, match="closed"):
        function.detect(CONTEXT, PIL.Image.new("RGB", (10, 10)))


def test_wrong_output_of_the_function_is_named():
    function = SpotFunction(lambda label_id, box, area: rectangle(5, box))
    with pytest.raises(BadFunctionError, match="unknown label ID"):
        tiled.create(function, tile=240).detect(CONTEXT, spots((500, 500), (10, 10, 100, 100)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tile": 0}, ValueError, "tile"),
        ({"overlap": 1}, ValueError, "overlap"),
        ({"iou": -0.1}, ValueError, "iou"),
        ({"score_threshold": 0.5}, TypeError, "score_threshold"),
        ({"function": "nanodet"}, FunctionLoadError, "nanodet"),
    ],
)
def test_invalid_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        tiled.create(**({"function": SpotFunction()} | options))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ({"reads_existing_shapes": True}, "'SimpleNamespace' starts from the shapes that are on an image"),
        ({"begin_video": lambda: None}, "'SimpleNamespace' finds and follows the objects of a video: make"),
    ],
)
def test_functions_that_need_the_whole_image_are_refused(attribute, message):
    with pytest.raises(BadFunctionError, match=message):
        tiled.create(SimpleNamespace(spec=None, detect=lambda *_: [], **attribute))
