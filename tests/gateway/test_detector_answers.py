"""Whatever a function returns, the items are such that CVAT stores them, and as they are."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_functions import BODY, CAR, HEAD, LABELS, SKY, TAIL
from prefect_cvat.auto_annotation import (
    cuboid,
    ellipse,
    keypoint,
    mask,
    points,
    polygon,
    polyline,
    rectangle,
    skeleton,
)
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.gateway.detector_answers import detector_items, encode_items
from prefect_cvat.gateway.interactor_answers import interactor_answer
from prefect_cvat.gateway.shown_labels import label_records, shown_labels
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask, encode_mask
from prefect_cvat.models import LabeledShapeRequest

WIDTH, HEIGHT = 64, 48

numbers = st.floats(-1e3, 1e3) | st.floats()
pairs = st.tuples(numbers, numbers)


def flat(count):
    return st.lists(numbers, min_size=count, max_size=count)


def chain(least):
    return st.lists(pairs, min_size=least, max_size=8).map(lambda found: [n for pair in found for n in pair])


bitmaps = st.builds(
    lambda seed, height, width, share: np.random.default_rng(seed).random((height, width)) < share,
    st.integers(0, 1000), st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.02, 0.5, 0.99]),
)  # fmt: skip
offsets = st.tuples(st.integers(-40, 80), st.integers(-40, 80))
options = st.fixed_dictionaries(
    {"score": st.none() | st.floats(0, 1), "group": st.none() | st.integers(0, 5), "occluded": st.booleans()}
)
shapes = st.one_of(
    st.builds(lambda p, r, o: rectangle(CAR, p, rotation=r, **o), flat(4), numbers, options),
    st.builds(lambda p, r, o: ellipse(CAR, p, rotation=r, **o), flat(4), numbers, options),
    st.builds(lambda p, o: polygon(CAR, p, **o), chain(3), options),
    st.builds(lambda p, o: polyline(CAR, p, **o), chain(2), options),
    st.builds(lambda p, o: points(CAR, p, **o), chain(1), options),
    st.builds(lambda p, o: cuboid(CAR, p, **o), flat(16), options),
    st.builds(lambda b, at, o: mask(SKY, encode_mask(b, offset=at), **o), bitmaps, offsets, options),
    st.builds(
        lambda p, hidden, o: skeleton(
            BODY, [keypoint(HEAD, p[:2], outside=hidden), keypoint(TAIL, p[2:], outside=True)], **o
        ),
        flat(4),
        st.booleans(),
        options,
    ),
)
COUNTS = {"rectangle": 4, "ellipse": 4, "cuboid": 16}
LEAST = {"polygon": 6, "polyline": 4, "points": 2}


@given(found=st.lists(shapes, max_size=4))
def test_items_are_what_cvat_stores(found):
    try:
        checked = OutputChecker(LABELS).check(0, found)
    except BadFunctionError:
        return
    losses = Counter()
    shown = shown_labels(LABELS)
    items = detector_items(checked, shown, (WIDTH, HEIGHT), thresholds={}, first_group=7, losses=losses)
    answered = json.loads(encode_items(items), parse_constant=pytest.fail)
    records = {record["name"]: record for record in label_records(LABELS, shown)}
    for item in answered:
        assert item["label"] in records
        assert 0 <= item.get("rotation", 0) <= 360
        assert item.get("group_id", 1) > 0
        match item["type"]:
            case "mask":
                *pixels, left, top, right, bottom = item["mask"]
                assert set(pixels) <= {0, 1}
                assert 1 in pixels
                assert len(pixels) == (right - left + 1) * (bottom - top + 1)
                assert 0 <= left <= right < WIDTH
                assert 0 <= top <= bottom < HEIGHT
                assert len(item.get("points", [0] * 6)) >= 6
            case "skeleton":
                assert not all(element["outside"] for element in item["elements"])
            case kind:
                assert len(item["points"]) == COUNTS.get(kind, len(item["points"]))
                assert len(item["points"]) >= LEAST.get(kind, 4)
                assert np.isfinite(item["points"]).all()


@given(bitmap=bitmaps, at=st.tuples(st.integers(0, 30), st.integers(0, 15)))
def test_masks_arrive_pixel_by_pixel(bitmap, at):
    if not bitmap.any():
        return
    checked = OutputChecker(LABELS).check(0, [mask(SKY, encode_mask(bitmap, offset=at))])
    items = detector_items(
        checked, shown_labels(LABELS), (WIDTH, HEIGHT), thresholds={}, first_group=0, losses=Counter()
    )
    (item,) = json.loads(encode_items(items))
    *pixels, left, top, right, bottom = item["mask"]
    arrived = np.zeros((HEIGHT, WIDTH), dtype=bool)
    arrived[top : bottom + 1, left : right + 1] = np.reshape(pixels, (bottom - top + 1, right - left + 1))
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[at[1] : at[1] + bitmap.shape[0], at[0] : at[0] + bitmap.shape[1]] = bitmap
    assert (arrived == expected).all()


@given(bitmap=bitmaps, at=offsets, confidence=st.none() | st.floats(0, 1))
def test_interactor_masks_are_run_lengths_within_the_image(bitmap, at, confidence):
    shape = LabeledShapeRequest(type="mask", label_id=0, frame=0, points=encode_mask(bitmap, offset=at))
    answer = interactor_answer([(shape, confidence)], (WIDTH, HEIGHT), Counter())
    answer = json.loads(json.dumps(answer, allow_nan=False))
    for found in answer["shapes"]:
        assert decode_mask(found["points"], image_width=WIDTH, image_height=HEIGHT).any()
        for attribute in found.get("attributes", []):
            assert float(attribute["value"]) == pytest.approx(confidence, rel=1e-5)


def test_masks_of_12_megapixels_are_encoded():
    bitmap = np.ones((3000, 4000), dtype=bool)
    checked = OutputChecker(LABELS).check(0, [mask(SKY, encode_mask(bitmap))])
    items = detector_items(
        checked, shown_labels(LABELS), (4000, 3000), thresholds={}, first_group=0, losses=Counter()
    )
    text = encode_items(items)
    assert text.count(b"1,") == 12_000_000
