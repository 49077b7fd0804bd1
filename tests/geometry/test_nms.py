import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from prefect_cvat.geometry.nms import non_maximum_suppression


@pytest.mark.parametrize("iou", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("count", [1, 300])
def test_it_keeps_the_boxes_that_torchvision_keeps(count, iou):
    random = np.random.default_rng(3)
    corners = random.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 60, (count, 2))], axis=1)
    scores, labels = random.uniform(size=count), random.integers(0, 3, count)
    expected = batched_nms(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), iou)
    kept = non_maximum_suppression(boxes, scores, labels, iou=iou, limit=count)
    assert kept.tolist() == expected.tolist()
    some = non_maximum_suppression(boxes, scores, labels, iou=iou, limit=5)
    assert some.tolist() == expected.tolist()[:5]


def test_no_boxes():
    kept = non_maximum_suppression(
        np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64), iou=0.5, limit=9
    )
    assert kept.tolist() == []
