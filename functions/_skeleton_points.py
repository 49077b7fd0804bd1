"""Skeletons of a task: which keypoints of a model are their points, and in which boxes they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_cvat.auto_annotation import BadFunctionError, DetectionFunction
from prefect_cvat.auto_annotation.label_prompts import readable
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list

__all__ = ["points_of_keypoints", "skeletons_by_label", "wanted_skeletons"]

_SIDES = {"l": "left", "r": "right"}


def points_of_keypoints(label: str, points: Sequence[str], keypoints: Sequence[str]) -> dict[int, str]:
    """Match the points of a skeleton with the keypoints of a model: by name, or else by their order.

    Points that the model does not know get numbers after its keypoints: CVAT wants all points of a skeleton.

    Args:
        label: The name of the skeleton, for the error.
        points: The names of its points.
        keypoints: The names of the keypoints, in the model's order.

    Returns:
        The names of the points by keypoint number.

    Raises:
        BadFunctionError: No name matches, and their numbers differ.
    """
    by_name = {_key(point): point for point in points}
    matched = {
        number: by_name[key]
        for number, keypoint in enumerate(keypoints)
        if (key := _key(keypoint)) and key in by_name
    }
    if matched:
        unknown = [point for point in points if point not in matched.values()]
        return matched | dict(enumerate(unknown, start=len(keypoints)))
    if len(points) == len(keypoints):
        return dict(enumerate(points))
    raise BadFunctionError(
        f"skeleton {label!r} has {len(points)} points ({quoted_list(points)}), but the model finds"
        f" {len(keypoints)} keypoints of other names ({quoted_list(keypoints)}); name these in the model's"
        f" order with {argument('keypoint_names')}"
    )


def wanted_skeletons(
    task_labels: Sequence[TaskLabel] | None, labels: Mapping[str, str] | None, keypoint_names: Sequence[str]
) -> dict[str, Sequence[str]]:
    """The points of the skeletons to look for, by name.

    Args:
        task_labels: The labels of the task, or None.
        labels: The skeleton by label of the detector, or None for all skeletons of the task.
        keypoint_names: The points of skeletons that do not come from a task.

    Raises:
        BadFunctionError: The task has no skeleton, or not those that `labels` names.
    """
    if task_labels is None:
        return dict.fromkeys((labels or {"person": "person"}).values(), keypoint_names)
    skeletons = {label.name: label.points for label in task_labels if label.type == "skeleton"}
    if labels is not None:
        if unknown := [name for name in labels.values() if name not in skeletons]:
            raise BadFunctionError(
                f"{argument('labels')} names {quoted_list(unknown)}, not skeletons of the task; it has"
                f" {quoted_list([*skeletons]) or 'none'}"
            )
        skeletons = {name: points for name, points in skeletons.items() if name in set(labels.values())}
    if not skeletons:
        raise BadFunctionError("the task has no label of type skeleton; this function finds skeletons only")
    return dict(skeletons)


def skeletons_by_label(
    detector: DetectionFunction, skeletons: Sequence[str], labels: Mapping[str, str] | None
) -> dict[int, int]:
    """The places of the skeletons by label id of the detector.

    Args:
        detector: The function that finds the boxes.
        skeletons: The names of the skeletons.
        labels: The skeleton by label of the detector; None for those of the same name.

    Raises:
        BadFunctionError: It is not known which labels of the detector belong to the skeletons.
    """
    ids = {label.name: label.id for label in detector.spec.labels}
    if labels is None:
        of_name = {_key(name): place for place, name in enumerate(skeletons)}
        found = {ids[name]: of_name[_key(name)] for name in ids if _key(name) in of_name}
        if not found and len(skeletons) == 1 and "person" in ids:
            found = {ids["person"]: 0}
        if not found:
            raise BadFunctionError(
                f"no label of the detector has the name of a skeleton ({quoted_list(skeletons)}); say with"
                f" {argument('labels')} which of its labels it is: {quoted_list([*ids])}"
            )
        return found
    if unknown := [name for name in labels if name not in ids]:
        raise BadFunctionError(
            f"{argument('labels')} names {quoted_list(unknown)}, not labels of the detector; it has"
            f" {quoted_list([*ids])}"
        )
    return {ids[name]: skeletons.index(skeleton_name) for name, skeleton_name in labels.items()}


def _key(name: str) -> tuple[str, ...]:
    """What names of the same thing have in common: `L_Eye`, `left-eye` and `eyeLeft` are one."""
    return tuple(sorted(_SIDES.get(word, word) for word in readable(name).split()))
