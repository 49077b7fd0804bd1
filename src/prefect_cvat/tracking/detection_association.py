"""Associates detections to tracks with a tracking algorithm of the library `trackers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prefect_cvat.extras import import_library
from prefect_cvat.geometry.bounding_box import BoundingBox, bounding_box, box_around
from prefect_cvat.options.track_options import Tracker, TrackOptions

if TYPE_CHECKING:
    from trackers.core.base import BaseTracker

__all__ = ["DetectionAssociator", "import_trackers"]

MIN_SIDE = 16.0
"""Minimum width and height of a box in pixels: points and lines have no area of their own."""

GROWTH = 0.2
"""Growth of a box on each side per skipped frame, as a fraction of its width or height."""

MAX_GROWTH = 1.0
"""Maximum growth of a box on each side, as a fraction of its width or height."""


class DetectionAssociator:
    """Associates detections to tracks by their boxes and scores, separately for each label and shape type.

    The first detection of an object starts its track; `TrackBuilder` drops tracks that are too short. With a
    `step` of more than one, boxes are grown before their IoU is computed (buffered IoU, Yang et al. 2023), in
    proportion to the skipped frames, since motion between distant frames is harder to predict. Detections
    with scores too low to start or continue a track are dropped.

    Args:
        options: Tracking algorithm, step, maximum gap and thresholds.

    Raises:
        ImportError: The library is not installed.
    """

    def __init__(self, options: TrackOptions) -> None:
        self._options = options
        self._numbers = count(1)
        self._trackers: dict[tuple[int, str], BaseTracker] = {}
        self._frame = -1
        _new_tracker(options)  # fails at once if the library is missing

    def update(self, frame: int, shapes: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
        """Associate the detections of the next frame.

        Args:
            frame: The frame's number; positions are predicted for the difference to the last frame.
            shapes: All shapes detected on the frame, as the server's JSON objects.

        Returns:
            Track numbers and shapes, in the order of the shapes, without shapes that belong to no track.

        Raises:
            ValueError: The frames do not ascend.
        """
        if frame <= self._frame:
            raise ValueError(f"frame {frame} follows frame {self._frame}; frames must ascend")
        self._frame = frame
        groups: dict[tuple[int, str], list[int]] = {key: [] for key in self._trackers}
        for index, shape in enumerate(shapes):
            groups.setdefault((shape["label_id"], shape["type"]), []).append(index)
        numbers: dict[int, int] = {}
        for key, indices in groups.items():
            if key not in self._trackers:
                self._trackers[key] = _new_tracker(self._options)
            found = self._associate(self._trackers[key], [shapes[index] for index in indices])
            numbers |= {indices[index]: number for index, number in found.items()}
        return [(numbers[index], shape) for index, shape in enumerate(shapes) if index in numbers]

    def _associate(self, tracker: BaseTracker, shapes: Sequence[Mapping[str, Any]]) -> dict[int, int]:
        import supervision

        boxes = np.array([_association_box(shape) for shape in shapes], dtype=np.float64).reshape(-1, 4)
        detections = supervision.Detections(
            xyxy=boxes,
            confidence=np.array([shape.get("score", 1.0) for shape in shapes], dtype=np.float64),
            data={"index": np.arange(len(shapes))},
        )
        # one second per frame, see _new_tracker
        tracked = tracker.update(detections, timestamp=float(self._frame))
        ids = [] if tracked.tracker_id is None else tracked.tracker_id.tolist()
        numbers = dict(zip(tracked.data["index"].tolist(), ids, strict=True)) if ids else {}
        free = [index for index in range(len(shapes)) if numbers.get(index, -1) < 0]
        for tracklet in tracker.tracks:
            if tracklet.tracker_id < 0:
                # the library assigns an id at the second detection, which would lose the first one
                tracklet.tracker_id = next(self._numbers)
                first = _nearest(tracklet.get_state_bbox(), boxes, free)
                free.remove(first)
                numbers[first] = tracklet.tracker_id
        return {index: number for index, number in numbers.items() if number >= 0}


def import_trackers() -> ModuleType:
    """Import the library with the tracking algorithms.

    Raises:
        MissingLibraryError: It is not installed; the message says how to install it.
    """
    return import_library("trackers", "tracks")


def _association_box(shape: Mapping[str, Any]) -> BoundingBox:
    left, top, right, bottom = bounding_box(shape)
    return box_around(
        (left + right) / 2, (top + bottom) / 2, max(right - left, MIN_SIDE), max(bottom - top, MIN_SIDE)
    )


def _nearest(box: npt.NDArray[Any], boxes: npt.NDArray[np.float64], indices: Sequence[int]) -> int:
    distances = np.abs(boxes[list(indices)] - box).max(axis=1)
    return indices[int(distances.argmin())]


def _new_tracker(options: TrackOptions) -> BaseTracker:
    """Create a tracker that gets frame numbers as timestamps in seconds.

    So it predicts motion for the true distance between frames, and drops tracks after `max_gap` frames,
    whatever the step. `lost_track_buffer` is in units of 1/30 s.
    """
    trackers = import_trackers()
    shared = {
        "lost_track_buffer": 30 * options.max_gap,
        "frame_rate": 1.0,
        "minimum_consecutive_frames": 1,
        "minimum_iou_threshold": options.min_iou,
        "iou": trackers.BIoU(min(GROWTH * (options.step - 1), MAX_GROWTH)),
    }
    match options.tracker:
        case Tracker.BYTETRACK:
            return trackers.ByteTrackTracker(
                **shared,
                track_activation_threshold=options.activation,
                high_conf_det_threshold=options.high_confidence,
            )
        case Tracker.OCSORT:
            return trackers.OCSORTTracker(**shared, high_conf_det_threshold=options.high_confidence)
        case Tracker.SORT:
            return trackers.SORTTracker(**shared, track_activation_threshold=options.activation)
