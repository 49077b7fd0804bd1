"""Overlapping pairs are those of pycocotools' dense matrix of IoUs."""

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coco_datasets import dataset, found
from prefect_cvat.evaluation.inputs.coco_dataset import read_dataset
from prefect_cvat.evaluation.matching import similarity
from prefect_cvat.evaluation.matching.similarity import similar_pairs

coordinates = st.sampled_from([-5e9, -300.0, -7.5, 0.0, 1.0, 3.25, 12.0, 40.0, 2.5e5, 7e8])
sides = st.sampled_from([0.0, 0.5, 2.0, 9.0, 25.0, 300.0, 1e6])
boxes = st.tuples(st.integers(1, 3), st.integers(1, 2), st.tuples(coordinates, coordinates, sides, sides))


@given(
    objects=st.lists(st.tuples(boxes, st.booleans()), max_size=8),
    predictions=st.lists(boxes, max_size=8),
    across_labels=st.booleans(),
    at_once=st.sampled_from([1, 5, 1000]),
)
@settings(max_examples=150, deadline=None)
def test_pairs_of_boxes_are_those_of_pycocotools(objects, predictions, across_labels, at_once):
    truth = dataset(*(box for box, _ in objects), images=3)
    for item, (_, is_crowd) in zip(truth["annotations"], objects, strict=True):
        item["iscrowd"] = int(is_crowd)
    data = read_dataset(truth, [found(*box, 0.5) for box in predictions], "bbox")
    expected = {}
    for row, (image, label, box) in enumerate(predictions):
        for column, ((other_image, other_label, other_box), is_crowd) in enumerate(objects):
            if image == other_image and (across_labels or label == other_label):
                [[iou]] = pycocotools.mask.iou([list(box)], [list(other_box)], [int(is_crowd)])
                if iou >= 0.1:
                    expected[row, column] = pytest.approx(iou)
    everything = (np.arange(len(predictions)), np.arange(len(objects)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_MAX_PAIRS_AT_ONCE", at_once)
        blocks = list(similar_pairs(data, *everything, 0.1, across_labels=across_labels))
    rows, columns, ious = (np.concatenate([[], *(block[n] for block in blocks)]) for n in range(3))
    pairs = list(zip(rows.astype(int).tolist(), columns.astype(int).tolist(), strict=True))
    assert pairs == sorted(pairs)
    assert dict(zip(pairs, ious.tolist(), strict=True)) == expected


def test_thousands_of_boxes_on_one_image_are_compared_with_their_neighbors_only(monkeypatch):
    places = [(float(x), float(y)) for x in range(0, 600, 6) for y in range(0, 300, 6)]
    truth = dataset(*((1, 1, (x, y, 5, 5)) for x, y in places))
    data = read_dataset(truth, [found(1, 1, (x + 1, y, 5, 5), 0.5) for x, y in places], "bbox")
    compared = []
    real = similarity._box_iou
    monkeypatch.setattr(
        similarity, "_box_iou", lambda *arguments: compared.append(len(arguments[1])) or real(*arguments)
    )
    everything = np.arange(len(places))
    pairs = sum(
        len(block[0]) for block in similar_pairs(data, everything, everything, 0.5, across_labels=False)
    )
    assert pairs == len(places)
    assert sum(compared) < len(places) ** 2 / 15
