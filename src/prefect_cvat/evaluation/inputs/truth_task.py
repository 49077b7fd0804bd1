"""Another task as ground truth: its frames and labels are matched with those of the evaluated task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.exceptions import NothingToEvaluateError
from prefect_cvat.frames import Frame
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.models import Label
from prefect_cvat.planning.plan import TaskInfo

__all__ = ["Relabeler", "matching_frames"]


def matching_frames(
    own: Sequence[Frame], info: TaskInfo, theirs: Sequence[Frame], other: TaskInfo
) -> dict[int, Frame]:
    """Match frames of the evaluated task with those of another one; return them by their numbers there.

    Frames are matched by their names; those of videos also by their numbers in the video.

    Args:
        own: Frames of the evaluated task.
        info: The evaluated task.
        theirs: Frames of the other task.
        other: The other task.

    Raises:
        NothingToEvaluateError: The tasks have no frame in common.
        ValueError: Frames of a name have different sizes, or several frames of a task have one name.
    """
    here, there = f"task {info.task.id}", f"task {other.task.id}"
    by_key = _by_key(theirs, other, there)
    matching = {}
    for key, frame in _by_key(own, info, here).items():
        twin = by_key.get(key)
        if twin is None:
            continue
        if (twin.width, twin.height) != (frame.width, frame.height):
            raise ValueError(
                f"{frame} has {frame.width}x{frame.height} pixels in {here}, but {twin.width}x{twin.height}"
                f" in {there}; the ground truth must have the same images"
            )
        matching[twin.number] = frame
    if not matching:
        raise NothingToEvaluateError(
            f"{here} and {there} have no frame in common; frames are matched by their names, such as"
            f" {own[0].name!r} and {theirs[0].name!r}"
            if own and theirs
            else f"{here} and {there} have no frame in common"
        )
    return matching


def _by_key(frames: Sequence[Frame], info: TaskInfo, name: str) -> Mapping[Hashable, Frame]:
    if info.task.mode == "interpolation":  # a video: its frames all have the name of the file
        meta = info.meta
        step = meta.step
        return {(frame.name, meta.start_frame + step * frame.number): frame for frame in frames}
    counts = Counter(frame.name for frame in frames)
    if doubled := [key for key, count in counts.items() if count > 1]:
        raise ValueError(f"{name} has {counts[doubled[0]]} frames with the name {doubled[0]!r}")
    return {frame.name: frame for frame in frames}


class Relabeler:
    """Converts labels and frames of annotations of another task to those of the evaluated one.

    Args:
        theirs: The labels of the other task.
        own: The labels of the evaluated task.
        frames: Frames of the evaluated task by their numbers in the other one.
        ignore_case: Match labels without regard to upper and lower case.
    """

    def __init__(
        self, theirs: Sequence[Label], own: Sequence[Label], frames: Mapping[int, Frame], ignore_case: bool
    ) -> None:
        self._names = {label.id: label.name for label in theirs}
        self._frames = frames
        self._sublabels: dict[int, int] = {}
        self._targets: dict[int, int] = {}
        self._unknown: Counter[str] = Counter()
        labels = _by_name(own, ignore_case)
        for label in theirs:
            target = labels.get(_key(label.name, ignore_case))
            if target is None:
                continue
            self._targets[label.id] = target.id
            keypoints = _by_name(target.sublabels, ignore_case)
            for sublabel in label.sublabels:
                if (keypoint := keypoints.get(_key(sublabel.name, ignore_case))) is not None:
                    self._sublabels[sublabel.id] = keypoint.id

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """An annotation with the label and frame of the evaluated task; None if that has no such label."""
        target = self._targets.get(item["label_id"])
        if target is None:
            self._unknown[self._names[item["label_id"]]] += 1
            return None
        elements = [
            {**element, "label_id": self._sublabels[element["label_id"]]}
            for element in item.get("elements") or ()
            if element["label_id"] in self._sublabels
        ]
        frame = self._frames[item["frame"]].number
        return {**item, "label_id": target, "elements": elements, "frame": frame}

    def left_out(self, source: str, info: TaskInfo, found: FrameAnnotations) -> dict[str, int]:
        """Number of annotations without a label in the evaluated task, by reason.

        Args:
            source: What the annotations are, such as `the manual annotations of task 7`.
            info: The evaluated task.
            found: The annotations with a label in the evaluated task.

        Raises:
            NothingToEvaluateError: No annotation has a label in the evaluated task.
        """
        if self._unknown and not found:
            raise NothingToEvaluateError(
                f"the labels do not match: {source} have"
                f" {quoted_list(list(self._unknown))}, and task {info.task.id} has"
                f" {quoted_list([label.name for label in info.labels])}"
            )
        return {
            f"annotations of label {name!r} of {source.partition(' of ')[2]}": count
            for name, count in self._unknown.items()
        }


def _by_name(owners: Iterable[Any], ignore_case: bool) -> dict[str, Any]:
    return {_key(owner.name, ignore_case): owner for owner in owners}


def _key(name: str, ignore_case: bool) -> str:
    return name.casefold() if ignore_case else name
