"""What follows from the corrections of all tasks of a project: calibration, thresholds and label map.

The threshold of a label is the one with the best F1. That is where a shape is right with a probability of
half the best F1 (Lipton et al., Optimal thresholding of classifiers to maximize F1 measure, 2014). So it
follows from the calibration, whose prior keeps it steady with few corrections. It is never below the lowest
score that was written: nobody has corrected what is below, and it is mostly wrong.

A function that was trained again is another one, and little better known than by its name: what was learned
about another version counts a tenth. Parameters and prompts belong to the version.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TypeAlias

from prefect_cvat.review.calibration import Calibration, fit_calibration
from prefect_cvat.review.evidence import SCORE_STEPS, Evidence
from prefect_cvat.review.learned import Confusion, LearnedFunction, TaskEvidence

__all__ = ["conclude", "latest_version"]

Weighted: TypeAlias = Sequence[tuple[float, TaskEvidence]]
"""Evidence, each after its weight."""

MIN_SHAPES = 20
"""Minimum number of corrected or confirmed shapes from which a label gets a threshold of its own."""

MIN_CONFUSIONS = 5
"""Minimum number of changes from one label to another from which a label is mapped to that one."""

MAX_THRESHOLD = 0.95

OTHER_VERSION = 0.1
"""How many shapes a shape of another version of the function counts as."""

PRIOR_MISSED, PRIOR_FRAMES = 0.5, 2
"""Missed objects, and frames with them, that count as seen before the first correction."""


def conclude(tasks: Mapping[int, Sequence[TaskEvidence]], version: str | None) -> LearnedFunction:
    """Learn from the evidence of the tasks of a project about one version of a function.

    Args:
        tasks: The evidence by task, for each version.
        version: The version; that of the latest run is `latest_version`.
    """
    weighted = [
        (1.0 if evidence.version == version else OTHER_VERSION, evidence)
        for _, of_task in sorted(tasks.items())
        for evidence in of_task
    ]
    is_of_version = any(evidence.version == version for _, evidence in weighted)
    shapes = Evidence()
    missed: defaultdict[str, float] = defaultdict(float)
    frames = right = total = 0.0
    confusions: Counter[tuple[str, str]] = Counter()
    for weight, evidence in weighted:
        of_task_shapes = Evidence(evidence.shapes)
        shapes.merge(of_task_shapes, weight)
        for label, count in evidence.missed.items():
            missed[label] += weight * count
        frames += weight * evidence.frames
        right, total = right + of_task_shapes.right, total + of_task_shapes.total
        confusions.update({(each.written, each.corrected): each.count for each in evidence.confusions})
    calibration = fit_calibration(shapes)
    return LearnedFunction(
        calibration=calibration,
        missed_per_frame=(sum(missed.values()) + PRIOR_MISSED) / (frames + PRIOR_FRAMES),
        thresholds=_thresholds(weighted, shapes, calibration, missed) if is_of_version else {},
        label_map=_label_map(weighted, version) if is_of_version else {},
        confusions=[
            Confusion(written=written, corrected=corrected, count=count)
            for (written, corrected), count in confusions.most_common()
        ],
        shapes=round(total),
        right=round(right),
        frames=sum(evidence.frames for _, evidence in weighted),
        missed=sum(sum(evidence.missed.values()) for _, evidence in weighted),
        tasks=sorted(tasks),
        version=version,
        is_of_version=is_of_version,
    )


def latest_version(tasks: Mapping[int, Sequence[TaskEvidence]]) -> str | None:
    """The version of the latest run, whichever task was learned from last."""
    return max(chain.from_iterable(tasks.values()), key=attrgetter("started")).version


def _thresholds(
    weighted: Weighted, shapes: Evidence, calibration: Calibration, missed: Mapping[str, float]
) -> dict[str, float]:
    """Thresholds by label of the function."""
    scores: dict[str, dict[float, float]] = {}
    for group, _, total in shapes:
        of_label = scores.setdefault(group.label, {})
        score = group.score / SCORE_STEPS
        of_label[score] = of_label.get(score, 0.0) + total
    own: dict[str, list[str]] = {}
    for _, evidence in weighted:
        for name, target in evidence.labels.items():
            if target is not None and name not in own.setdefault(target, []):
                own[target].append(name)
    by_label = {
        label: _threshold(of_label, label, calibration, missed.get(label, 0))
        for label, of_label in sorted(scores.items())
        if sum(of_label.values()) >= MIN_SHAPES
    }
    return {
        name: round(threshold, 3) for label, threshold in by_label.items() for name in own.get(label, [label])
    }


def _threshold(scores: Mapping[float, float], label: str, calibration: Calibration, missed: float) -> float:
    """The threshold of a label with the best expected F1.

    Args:
        scores: The numbers of shapes by score.
        label: The label.
        calibration: The probability that a shape is right.
        missed: The number of objects without a shape.
    """
    probability = calibration.of_labels({0: label}).at_typical_size
    objects = missed + sum(count * probability(0, score) for score, count in scores.items())
    found = written = best = 0.0
    for score, count in sorted(scores.items(), reverse=True):
        found += count * probability(0, score)
        written += count
        best = max(best, 2 * found / (written + objects))
    half = min(max(best / 2, 1e-6), 1 - 1e-6)
    return min(max(calibration.score_at(half, label), min(scores)), MAX_THRESHOLD)


def _label_map(weighted: Weighted, version: str | None) -> dict[str, str]:
    """Labels of the function that people mostly change to one other label.

    Where several labels of the function are mapped to one of the task, it is not known which of them a shape
    had. An entry that was learned before and is in use stays until at least five shapes speak against it, and
    as many as for it: where it is in use, nothing is left to change.
    """
    written: defaultdict[str, float] = defaultdict(float)
    against: defaultdict[str, float] = defaultdict(float)
    changed: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    in_force: dict[str, str] = {}
    for weight, evidence in sorted(weighted, key=lambda pair: pair[1].started):
        targets = Counter(target for target in evidence.labels.values() if target is not None)
        own = {target: name for name, target in evidence.labels.items() if target and targets[target] == 1}
        learned = evidence.learned_labels
        for group, right, total in Evidence(evidence.shapes):
            if (name := own.get(group.label)) is None:
                continue
            written[name] += weight * total
            if name in learned:
                changed[name][group.label] += weight * right
            else:
                against[name] += weight * right
        for each in evidence.confusions:
            names = [name for name, target in learned.items() if target == each.written]
            if each.written in own and own[each.written] not in names:
                changed[own[each.written]][each.corrected] += weight * each.count
            for name in names:
                if each.corrected == name:
                    against[name] += weight * each.count
                elif each.written in own:
                    changed[name][each.corrected] += weight * each.count
        if evidence.version == version:
            for name in evidence.labels:
                in_force.pop(name, None)
            in_force |= learned
    found = {}
    for name, targets_of in sorted(changed.items()):
        target, count = max(targets_of.items(), key=itemgetter(1))
        if count >= max(MIN_CONFUSIONS, math.ceil((written[name] + 1) / 2)):
            found[name] = target
    kept = {
        name: target
        for name, target in in_force.items()
        if against[name] < max(MIN_CONFUSIONS, changed[name][target])
    }
    return kept | found
