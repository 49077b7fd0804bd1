"""Mistakes of a function on a picture, and how early an order of the pictures finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from review_sets import Found, Picture

from prefect_cvat.geometry.iou import box_iou

BOOTSTRAPS = 1000
FOLDS = 10
BLOCK = 5
"""Frames of a video that are drawn together."""

Array = Any


def shapes_from(picture: Picture, threshold: float) -> list[Found]:
    return [each for each in picture.found if each.score >= threshold]


def boxes(found: Sequence[Found]) -> Array:
    return np.array([each.box for each in found], dtype=float).reshape(-1, 4)


def count_mistakes(picture: Picture, threshold: float) -> tuple[int, int]:
    """How many objects are missed, and how many shapes are false or have a wrong label."""
    right, matched = match_objects(picture, threshold)
    return len(picture.truth) - matched, len(right) - sum(right)


def match_objects(picture: Picture, threshold: float) -> tuple[list[bool], int]:
    """Which shapes are right, and how many objects have a shape, if only with a wrong label."""
    found = shapes_from(picture, threshold)
    right = [False] * len(found)
    free = np.ones(len(picture.truth), dtype=bool)
    if not found or not picture.truth:
        return right, 0
    iou = box_iou(boxes(found), np.array([box for _, box in picture.truth], dtype=float))
    labels = np.array([label for label, _ in picture.truth])
    by_score = sorted(range(len(found)), key=lambda index: -found[index].score)
    for same_label in (True, False):
        for index in by_score:
            allowed = free & (labels == found[index].label) if same_label else free
            place = int((iou[index] * allowed).argmax())
            if not right[index] and allowed[place] and iou[index, place] >= 0.5:
                free[place] = False
                right[index] = same_label
    return right, int((~free).sum())


def area_under(values: Array, mistakes: Array) -> tuple[float, float]:
    """The area under the share of mistakes over the share of frames, and that share at a quarter of them.

    Frames with equal values come in random order: each counts with their mean.
    """
    if not mistakes.sum():
        return float("nan"), float("nan")
    _, group = np.unique(-values, return_inverse=True)
    means = np.bincount(group, mistakes) / np.bincount(group)
    found = np.concatenate([[0.0], np.cumsum(means[np.sort(group)])]) / mistakes.sum()
    shares = np.linspace(0, 1, len(found))
    return float(np.trapezoid(found, shares)), float(np.interp(0.25, shares, found))


def fold_numbers(count: int, is_video: bool) -> Array:
    """The fold of each frame; in a video, frames in a row are alike and belong to one fold."""
    in_order = np.arange(count) * FOLDS // count
    return in_order if is_video else np.random.default_rng(3).permutation(in_order)


def bootstrap(count: int, is_video: bool) -> Iterator[Array]:
    random = np.random.default_rng(0)
    for _ in range(BOOTSTRAPS):
        if is_video:
            starts = random.integers(0, count - BLOCK + 1, -(-count // BLOCK))
            yield (starts[:, None] + np.arange(BLOCK)).ravel()[:count]
        else:
            yield random.integers(0, count, count)
