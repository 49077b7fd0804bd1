import time

import numpy as np
import pytest
import skimage.data
import skimage.draw
import skimage.measure
from cvat_sdk import masks as sdk_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from prefect_cvat.masks import decode_mask, encode_mask, mask_to_polygons

bitmaps = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@st.composite
def bitmaps_with_boxes(draw):
    bitmap = draw(bitmaps)
    height, width = bitmap.shape
    edges = []
    for size in (width, height):
        lower = draw(st.floats(0, size - 0.01))
        edges.append((lower, draw(st.floats(lower, size, exclude_min=True))))
    (x1, x2), (y1, y2) = edges
    return bitmap, [x1, y1, x2, y2]


@pytest.fixture(scope="module")
def horse():
    """The silhouette of a horse, `[328, 400]`."""
    return ~skimage.data.horse()


def painted(polygon, shape):
    x, y = np.reshape(polygon, (-1, 2)).T
    return skimage.draw.polygon2mask(shape, np.stack([y, x], axis=1) - 0.5)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def ellipse(height=1080, width=1920):
    rows, columns = np.mgrid[:height, :width]
    return ((columns - width / 2) / (width / 3)) ** 2 + ((rows - height / 2) / (height / 3)) ** 2 <= 1


# --- encoding and decoding -----------------------------------------------------------------------


@given(bitmaps)
def test_decoding_inverts_encoding(bitmap):
    height, width = bitmap.shape
    decoded = decode_mask(encode_mask(bitmap), image_width=width, image_height=height)
    assert decoded.dtype == np.bool_
    assert (decoded == bitmap).all()
    assert decoded.shape == bitmap.shape


@given(bitmaps)
def test_encoding_is_that_of_the_sdk(bitmap):
    assert encode_mask(bitmap) == sdk_masks.encode_mask(bitmap)


@given(bitmaps_with_boxes())
def test_encoding_of_a_box_is_that_of_the_sdk(bitmap_with_box):
    bitmap, box = bitmap_with_box
    assert encode_mask(bitmap, box) == sdk_masks.encode_mask(bitmap, box)


@given(bitmaps, st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_part_of_an_image_is_encoded_as_in_the_image(bitmap, offset):
    x, y = offset
    height, width = bitmap.shape
    image = np.zeros((height + 7, width + 7), dtype=bool)
    image[y : y + height, x : x + width] = bitmap
    encoded = encode_mask(bitmap, offset=offset)
    assert (decode_mask(encoded, image_width=width + 7, image_height=height + 7) == image).all()
    if bitmap.any():
        assert encoded == encode_mask(image)


@given(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 6, 9, 12, 0.5]), max_size=9))
def test_decoding_is_that_of_the_sdk(encoded):
    def outcome(decode):
        try:
            return decode(encoded, image_width=5, image_height=4).tolist()
        except ValueError:
            return "ValueError"

    assert outcome(decode_mask) == outcome(sdk_masks.decode_mask)


def test_example_of_an_encoding():
    bitmap = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    assert encode_mask(bitmap) == [0, 2, 1, 1, 1, 1, 2, 2]
    assert encode_mask(bitmap, [0, 0.5, 3.5, 2]) == [5, 2, 1, 0, 0, 3, 1]
    assert all(type(number) is int for number in encode_mask(bitmap))


def test_silhouette(horse):
    height, width = horse.shape
    encoded = encode_mask(horse)
    assert encoded == sdk_masks.encode_mask(horse)
    assert (decode_mask(encoded, image_width=width, image_height=height) == horse).all()
    # As the models carry them: as floats.
    assert (decode_mask([float(n) for n in encoded], image_width=width, image_height=height) == horse).all()


@pytest.mark.parametrize(
    ("bitmap", "bbox", "message"),
    [
        (np.zeros((2, 2, 2), bool), None, "2 dimensions, not 3"),
        (np.zeros((2, 2), np.uint8), None, "boolean items, not uint8"),
        (np.zeros((2, 3), bool), [0, 0, 4, 2], "3x2"),
        (np.zeros((2, 3), bool), [-1, 0, 2, 2], "bbox"),
        (np.zeros((2, 3), bool), [1, 1, 1, 2], "empty"),
        (np.zeros((0, 3), bool), None, "3x0"),
    ],
)
def test_invalid_bitmap_or_bbox_is_refused(bitmap, bbox, message):
    with pytest.raises(ValueError, match=message):
        encode_mask(bitmap, bbox)


@pytest.mark.parametrize(
    ("encoded", "size", "message"),
    [
        ([1, 0, 0, 0], (2, 2), "5 numbers or more, not 4"),
        ([4, 0, 0, 1, 1], (0, 2), "0x2"),
        ([3.5, 0.5, 0, 0, 1, 1], (2, 2), "not whole: 3.5"),
        ([4, 0, 0, float("nan"), 1], (2, 2), "not whole: nan"),
        ([4, 0, 0, float("inf"), 1], (2, 2), "not whole: inf"),
        ([1e300, 0, 0, 1, 1], (2, 2), "not whole: 1e\\+300"),
        ([4, 0, 0, 2, 1], (2, 2), r"box \(0, 0, 2, 1\)"),
        ([1, 1, 0, 0, 0], (2, 2), "box"),
        ([3, 0, 0, 1, 1], (2, 2), "do not fill its box of 2x2"),
        ([-1, 5, 0, 0, 1, 1], (2, 2), "do not fill"),
        ([2.0**62, 2.0**62, 2.0**62, 2.0**62, 4, 0, 0, 1, 1], (2, 2), "do not fill"),
    ],
)
def test_invalid_encoded_mask_is_refused(encoded, size, message):
    width, height = size
    with pytest.raises(ValueError, match=message):
        decode_mask(encoded, image_width=width, image_height=height)


def test_not_slower_than_the_sdk():
    bitmap = ellipse()
    encoded = encode_mask(bitmap)

    def seconds(function):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    ours = seconds(lambda: encode_mask(bitmap))
    theirs = seconds(lambda: sdk_masks.encode_mask(bitmap))
    assert ours < theirs
    ours = seconds(lambda: decode_mask(encoded, image_width=1920, image_height=1080))
    theirs = seconds(lambda: sdk_masks.decode_mask(encoded, image_width=1920, image_height=1080))
    assert ours < 1.5 * theirs


# --- polygons ------------------------------------------------------------------------------------


def test_polygon_of_a_silhouette(horse):
    for tolerance, least in ((0, 0.995), (1, 0.97), (3, 0.93)):
        (polygon, *specks) = sorted(mask_to_polygons(horse, tolerance=tolerance), key=len, reverse=True)
        assert overlap(painted(polygon, horse.shape), horse) > least
        assert sum(map(len, specks)) < 100
    assert len(polygon) < 150


def test_polygon_coordinates_begin_at_the_image_corner():
    mask = np.zeros((6, 8), bool)
    mask[2:5, 3:7] = True
    (polygon,) = mask_to_polygons(mask, tolerance=0)
    x, y = np.reshape(polygon, (-1, 2)).T
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((3, 7, 2, 5))
    (moved,) = mask_to_polygons(mask, tolerance=0, offset=(10, 20))
    assert np.reshape(moved, (-1, 2)) == pytest.approx(np.reshape(polygon, (-1, 2)) + np.array([10, 20]))


def test_polygon_of_a_full_mask_is_the_image_border():
    (polygon,) = mask_to_polygons(np.ones((4, 6), bool), tolerance=0)
    x, y = np.reshape(polygon, (-1, 2)).T
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 6, 0, 4)


def test_holes_are_filled_and_each_part_is_a_polygon():
    mask = np.zeros((60, 60), bool)
    mask[5:45, 5:45] = True
    mask[15:35, 15:35] = False  # a hole
    mask[22:28, 22:28] = True  # an island in it
    mask[50:58, 20:50] = True  # another part
    filled = np.zeros((60, 60), bool)
    filled[5:45, 5:45] = True
    polygons = sorted(
        mask_to_polygons(mask, tolerance=0), key=lambda polygon: -painted(polygon, mask.shape).sum()
    )
    assert len(polygons) == 3
    assert overlap(painted(polygons[0], mask.shape), filled) > 0.99
    assert overlap(painted(polygons[1], mask.shape), mask & (np.arange(60) >= 50)[:, None]) > 0.95


def test_probabilities_are_outlined_between_pixels():
    mask = np.zeros((5, 5))
    mask[2, 1:4] = 1
    mask[1, 1:4] = 0.25
    (polygon,) = mask_to_polygons(mask, tolerance=0)
    y = polygon[1::2]
    assert max(y) == pytest.approx(3)
    assert min(y) == pytest.approx(2.5 - 2 / 3)  # where 0.25 becomes 1, 0.5 is at a third of the way


def test_probability_of_the_level_belongs_to_the_mask():
    assert mask_to_polygons(np.full((3, 3), 0.5))
    assert mask_to_polygons(np.full((3, 3), 0.49)) == []
    assert mask_to_polygons(np.full((3, 3), 0.49), level=0.4)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=10),
        elements=st.sampled_from([0, 0.25, 0.5, 0.5000001, 0.75, 1]),
    ),
    st.sampled_from([0, 0.5, 1, 2.5, 100]),
)
@settings(deadline=None)
def test_every_polygon_has_three_points_within_the_image(mask, tolerance):
    height, width = mask.shape
    for polygon in mask_to_polygons(mask, tolerance=tolerance):
        points = np.reshape(polygon, (-1, 2))
        assert len(points) >= 3
        assert len(np.unique(points, axis=0)) >= 3
        assert (points >= 0).all()
        assert (points <= [width, height]).all()
        assert not (points[0] == points[-1]).all()


@given(bitmaps)
@settings(deadline=None)
def test_every_part_of_a_mask_has_a_polygon(bitmap):
    parts = skimage.measure.label(bitmap, connectivity=1).max()
    assert len(mask_to_polygons(bitmap)) == parts


def test_empty_mask_has_no_polygons():
    assert mask_to_polygons(np.zeros((5, 5), bool)) == []


def test_invalid_mask_or_tolerance_is_refused():
    with pytest.raises(ValueError, match="2 dimensions, not 1"):
        mask_to_polygons(np.zeros(5, bool))
    with pytest.raises(ValueError, match="tolerance must be 0 or more, not -1"):
        mask_to_polygons(np.zeros((5, 5), bool), tolerance=-1)
