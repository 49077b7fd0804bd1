"""IoU of boxes and masks, OKS of keypoints, for pairs of a prediction and an object on the same image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.inputs.coco_dataset import Dataset, Items

__all__ = ["Indices", "similar_pairs"]

Indices: TypeAlias = NDArray[np.int64]

_MAX_PAIRS_AT_ONCE = 50_000
"""Maximum number of pairs in memory at a time, unless one prediction has more."""

_MAX_COORDINATE = 1e8
"""Coordinates beyond are taken for this one where boxes that cannot overlap are sorted out."""


def similar_pairs(
    data: Dataset, predictions: Indices, objects: Indices, threshold: float, *, across_labels: bool
) -> Iterator[tuple[Indices, Indices, NDArray[np.float64]]]:
    """Find pairs on the same image whose IoU (or OKS) reaches a threshold.

    Args:
        data: Ground truth and predictions.
        predictions: Indices of predictions. Those of one image and label are contiguous; with
            `across_labels`, those of one image are.
        objects: Indices of objects.
        threshold: Minimum IoU or OKS, greater than 0.
        across_labels: Compare different labels too. The keypoints of different labels cannot be compared.

    Yields:
        Predictions, objects and similarities. Each prediction is in one block, in the order of the argument;
        its objects ascend.
    """
    groups = [items.image for items in (data.predictions, data.truth)]
    if not across_labels or data.iou_type == "keypoints":
        labels = max(len(data.categories), 1)
        groups = [
            image * labels + items.label
            for image, items in zip(groups, (data.predictions, data.truth), strict=True)
        ]
    own, theirs = groups[0][predictions], groups[1][objects]
    if data.iou_type == "bbox":
        first, last, order = _overlapping_ranges(data, predictions, objects, own, theirs)
    else:
        order = np.argsort(theirs, kind="stable")
        first, last = (np.searchsorted(theirs[order], own, side) for side in ("left", "right"))
    ordered = objects[order]
    measure = {"bbox": _box_iou, "segm": _mask_iou, "keypoints": _keypoint_similarity}[data.iou_type]
    for rows, columns in _pairs(first, last):
        prediction, truth = predictions[rows], ordered[columns]
        similarity = measure(data, prediction, truth)
        kept = np.flatnonzero(similarity >= threshold)
        rows, truth, similarity = rows[kept], truth[kept], similarity[kept]
        ascending = np.lexsort((truth, rows))
        rows = rows[ascending]
        yield predictions[rows], truth[ascending], similarity[ascending]


def _pairs(first: Indices, last: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Pair row i with the columns from `first[i]` to `last[i]`, in blocks of bounded size."""
    counts = np.maximum(last - first, 0)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _MAX_PAIRS_AT_ONCE, "right")))
        own = counts[start:stop]
        rows = np.repeat(np.arange(start, stop), own)
        offsets = np.arange(len(rows)) - np.repeat(ends[start:stop] - own - done, own)
        if len(rows):
            yield rows, np.repeat(first[start:stop], own) + offsets
        start = stop


def _overlapping_ranges(
    data: Dataset, predictions: Indices, objects: Indices, own: Indices, theirs: Indices
) -> tuple[Indices, Indices, Indices]:
    """The range of objects, sorted by group and left edge, that can overlap with each prediction.

    Without it, a frame with 20,000 boxes would have 400 million pairs.
    """

    def edges(items: Items, places: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        left, width = items.boxes[places, 0], items.boxes[places, 2]
        bounds = -_MAX_COORDINATE, _MAX_COORDINATE
        return np.clip(left, *bounds), np.clip(left + width, *bounds)

    left, right = edges(data.predictions, predictions)
    object_left, object_right = edges(data.truth, objects)
    everywhere = np.concatenate([left, object_left, [0.0]])
    origin = float(everywhere.min()) - 2
    span = int(max(right.max(initial=0.0), object_right.max(initial=0.0)) - origin) + 4
    names, group = np.unique(theirs, return_inverse=True)
    widest = np.zeros(len(names) + 1)
    np.maximum.at(widest, group, object_right - object_left)
    keys = group * span + np.floor(object_left - origin).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    of_own = np.searchsorted(names, own)
    is_known = (names[np.minimum(of_own, len(names) - 1)] == own) if len(names) else np.zeros(len(own), bool)
    lowest = np.maximum(np.floor(left - widest[of_own] - origin).astype(np.int64) - 1, 0)
    highest = np.ceil(right - origin).astype(np.int64) + 1
    first = np.searchsorted(keys[order], of_own * span + lowest, "left")
    last = np.searchsorted(keys[order], of_own * span + highest, "right")
    return first, np.where(is_known, last, first), order


def _box_iou(data: Dataset, prediction: Indices, truth: Indices) -> NDArray[np.float64]:
    """IoU of boxes as in pycocotools; of a crowd, the share of the prediction that it covers."""
    own, theirs = data.predictions.boxes[prediction], data.truth.boxes[truth]
    low = np.maximum(own[:, :2], theirs[:, :2])
    high = np.minimum(own[:, :2] + own[:, 2:], theirs[:, :2] + theirs[:, 2:])
    size = np.maximum(high - low, 0)
    common = size[:, 0] * size[:, 1]
    area = own[:, 2] * own[:, 3]
    union = np.where(data.truth.is_crowd[truth], area, area + theirs[:, 2] * theirs[:, 3] - common)
    iou = np.zeros(len(common))
    np.divide(common, union, out=iou, where=union > 0)
    return iou


def _mask_iou(data: Dataset, prediction: Indices, truth: Indices) -> NDArray[np.float64]:
    from faster_coco_eval import mask  # imports OpenCV where there is one

    parts = []
    changes = np.flatnonzero(np.diff(prediction)) + 1
    starts = [0, *changes.tolist(), len(prediction)]
    # predictions with the same objects are compared in one call
    place = 0
    while place < len(starts) - 1:
        objects = truth[starts[place] : starts[place + 1]]
        stop = place + 1
        while stop < len(starts) - 1 and np.array_equal(truth[starts[stop] : starts[stop + 1]], objects):
            stop += 1
        own = prediction[starts[place:stop]]
        similarity = mask.iou(
            [data.predictions.masks[each] for each in own.tolist()],
            [data.truth.masks[each] for each in objects.tolist()],
            data.truth.is_crowd[objects].astype(int).tolist(),
        )
        parts.append(np.asarray(similarity, dtype=np.float64).reshape(-1))
        place = stop
    return np.concatenate(parts)


def _keypoint_similarity(data: Dataset, prediction: Indices, truth: Indices) -> NDArray[np.float64]:
    """OKS as in pycocotools 2.0.11 (`COCOeval.computeOks`)."""
    similarity = np.zeros(len(prediction))
    labels = data.truth.label[truth]
    for label in np.unique(labels).tolist():
        sigmas = np.array(data.sigmas[label])
        if not len(sigmas):
            continue
        own = np.flatnonzero(labels == label)
        found = np.stack([data.predictions.keypoints[each] for each in prediction[own].tolist()])
        true = np.stack([data.truth.keypoints[each] for each in truth[own].tolist()])
        xs, ys = found[:, 0::3], found[:, 1::3]
        is_seen = true[:, 2::3] > 0
        # an object without keypoints is ignored; its distance is that from twice its box
        left, top, width, height = data.truth.boxes[truth[own]].T[:, :, None]
        is_blank = ~is_seen.any(axis=1, keepdims=True)
        dx = np.where(
            is_blank,
            np.maximum(0, left - width - xs) + np.maximum(0, xs - left - 2 * width),
            xs - true[:, 0::3],
        )
        dy = np.where(
            is_blank,
            np.maximum(0, top - height - ys) + np.maximum(0, ys - top - 2 * height),
            ys - true[:, 1::3],
        )
        area = data.truth.area[truth[own], None]
        distance = (dx**2 + dy**2) / (2 * sigmas) ** 2 / (area + np.spacing(1)) / 2
        counted = is_seen | is_blank
        similarity[own] = np.sum(np.exp(-distance) * counted, axis=1) / counted.sum(axis=1)
    return similarity
