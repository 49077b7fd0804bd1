"""A track under construction: its keyframes in each of its jobs."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from prefect_cvat.geometry.interpolation import is_interpolated, shortest_rotation
from prefect_cvat.geometry.keyframe_picker import (
    KeyframePicker,
    Observation,
    State,
    interpolate_observations,
    rotation_tolerance,
)
from prefect_cvat.models import Job, Label, Sublabel
from prefect_cvat.options.track_options import TrackOptions

__all__ = ["MutableAttributes", "OpenTrack"]

MAX_VALUES = 100
"""Maximum number of distinct values counted per attribute, to bound memory with free text."""


class MutableAttributes:
    """The defaults of mutable attributes, by label (or sublabel) id and attribute id.

    Args:
        labels: The labels of the task.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        owners: list[Sublabel] = [owner for label in labels for owner in (label, *label.sublabels)]
        self.defaults = {
            owner.id: {
                attribute.id: attribute.default_value or ""
                for attribute in owner.attributes
                if attribute.mutable
            }
            for owner in owners
        }


class _JobKeyframes(KeyframePicker):
    """The keyframes of a track in a job."""

    __slots__ = ("_numbers", "frames", "job", "states")

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.frames = array("q")
        self.states: list[tuple[State, ...]] = []
        self._numbers: list[bytes] = []

    def close(self, last: Observation) -> None:
        """End with an `outside` keyframe after the last observation, if it is inside the job."""
        self.end()
        if last.frame < self.job.stop_frame and not last.states[0][0]:
            self.frames.append(last.frame + 1)
            self.states.append(tuple((True, *state[1:]) for state in last.states))
            self._numbers.append(self._numbers[-1])

    def numbers(self, index: int) -> list[float]:
        """The coordinates of a keyframe in pixels, then its rotation in degrees."""
        return array("d", self._numbers[index]).tolist()

    def keep(self, keyframe: Observation) -> None:
        """Add a keyframe."""
        self.frames.append(keyframe.frame)
        self.states.append(keyframe.states)
        self._numbers.append(array("d", (*keyframe.values[:-1], keyframe.rotation)).tobytes())


class OpenTrack:
    """A track that may continue: its last observation, and its keyframes in open jobs.

    Args:
        number: The number of the track, for messages.
        shape: Its first shape, as the server's JSON object.
        attributes: The mutable attributes of the task's labels.
        options: The tolerance of interpolation.
    """

    def __init__(
        self, number: int, shape: Mapping[str, Any], attributes: MutableAttributes, options: TrackOptions
    ) -> None:
        self.last: Observation
        self.is_lost = True
        self._number = number
        self._key = _key(shape)
        self._attributes = attributes
        self._tolerance = options.tolerance
        self._length = 0
        self._parts: dict[int, _JobKeyframes] = {}
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._votes: dict[tuple[int, int], Counter[str]] = {}

    @property
    def job_ids(self) -> set[int]:
        """The ids of jobs with keyframes that have not been taken yet."""
        return {*self._parts, *(job_id for job_id, _ in self._waiting)}

    def see(self, frame: int, shape: Mapping[str, Any], jobs: Sequence[Job], is_exact: bool) -> None:
        """Add an observation.

        Args:
            frame: The number of the frame.
            shape: The shape, as the server's JSON object.
            jobs: The jobs that contain frames after the last observation.
            is_exact: Whether the shape must become a keyframe.
        """
        before = None if self.is_lost else self.last
        self.last = self._observe(frame, shape, before, is_exact)
        self.is_lost = False
        self._add_to_parts(before, self.last, jobs)

    def lose(self) -> None:
        """End visibility after the last observation."""
        for part in self._parts.values():
            part.close(self.last)
        self.is_lost = True

    def take(self, frame: int | None, min_length: int) -> list[tuple[int, dict[str, Any]]]:
        """Return complete parts as pairs of job id and track; none while the track is too short.

        Args:
            frame: The last processed frame; None if there are no more frames.
            min_length: Minimum number of observations of a track.
        """
        for job_id, part in list(self._parts.items()):
            if frame is None or part.job.stop_frame <= (frame if self.is_lost else self.last.frame):
                part.end()
                del self._parts[job_id]
                if any(not states[0][0] for states in part.states):
                    self._waiting.append((job_id, self._render(part)))
        if self._length < min_length:
            return []
        waiting, self._waiting = self._waiting, []
        return waiting

    def _add_to_parts(self, before: Observation | None, new: Observation, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if before is None:
                if job.start_frame <= new.frame <= job.stop_frame:
                    self._part(job).add(new)
            elif job.start_frame <= new.frame and job.stop_frame > before.frame:
                add = self._part(job).add
                if before.frame < job.start_frame < new.frame:
                    add(interpolate_observations(before, new, job.start_frame))
                if new.frame <= job.stop_frame:
                    add(new)
                elif max(before.frame, job.start_frame) < job.stop_frame:
                    add(interpolate_observations(before, new, job.stop_frame))

    def _part(self, job: Job) -> _JobKeyframes:
        if job.id not in self._parts:
            self._parts[job.id] = _JobKeyframes(job)
        return self._parts[job.id]

    def _observe(
        self, frame: int, shape: Mapping[str, Any], before: Observation | None, is_exact: bool
    ) -> Observation:
        if (key := _key(shape)) != self._key:
            raise ValueError(
                f"track {self._number} is a {self._key[0]} of label {self._key[1]} and cannot become"
                f" a {key[0]} of label {key[1]}, or one with other elements, on frame {frame}"
            )
        self._length += 1
        elements = _elements(shape)
        owners = [shape, *elements]
        states = tuple(self._state(owner) for owner in owners)
        points: list[float] = []
        tolerances: list[float] = []
        for index, owner in enumerate(elements or owners):
            own: Sequence[float] = owner["points"]
            is_hidden = bool(elements) and states[index + 1][0]
            if (
                is_hidden and before is not None
            ):  # the position of a hidden element is meaningless: keep the last one
                own = before.values[len(points) : len(points) + len(own)]
            points += own
            tolerances += [inf if is_hidden else self._tolerance] * len(own)
        rotation = turned = float(shape.get("rotation") or 0.0)
        if before is not None:
            turned = before.values[-1] + shortest_rotation(rotation - before.values[-1])
        tolerances.append(rotation_tolerance(points, self._tolerance))
        if before is not None and states == before.states:
            states = before.states  # share one object
        return Observation(
            frame,
            (*points, turned),
            rotation,
            tuple(tolerances),
            states,
            is_held=not is_interpolated(shape["type"], len(points)),
            is_keyframe=is_exact or (before is not None and states is not before.states),
        )

    def _state(self, owner: Mapping[str, Any]) -> State:
        label_id = owner["label_id"]
        changing = dict(self._attributes.defaults.get(label_id, {}))
        for attribute in owner.get("attributes") or ():
            spec_id, value = attribute["spec_id"], attribute["value"]
            if spec_id in changing:
                changing[spec_id] = value
            else:
                votes = self._votes.setdefault((label_id, spec_id), Counter())
                if value in votes or len(votes) < MAX_VALUES:
                    votes[value] += 1
        return (
            bool(owner.get("outside")),
            bool(owner.get("occluded")),
            owner.get("z_order") or 0,
            tuple(changing.items()),
        )

    def _render(self, part: _JobKeyframes) -> dict[str, Any]:
        shape_type, label_id, layout = self._key
        track = self._track(part, label_id)
        element_tracks = [self._track(part, element[0]) for element in layout]
        for index, frame in enumerate(part.frames):
            *points, rotation = part.numbers(index)
            own, *others = part.states[index]
            body = _keyframe(shape_type, frame, own, rotation)
            if not layout:
                body["points"] = points
            track["shapes"].append(body)
            at = 0
            for element, (_, element_type, count), state in zip(element_tracks, layout, others, strict=True):
                body = _keyframe(element_type, frame, state, 0.0)
                body["points"] = points[at : at + count]
                element["shapes"].append(body)
                at += count
        track["elements"] = element_tracks
        return track

    def _track(self, part: _JobKeyframes, label_id: int) -> dict[str, Any]:
        return {
            "frame": part.frames[0],
            "label_id": label_id,
            "group": 0,
            "source": "auto",
            "attributes": [
                {"spec_id": spec_id, "value": votes.most_common(1)[0][0]}
                for (owner, spec_id), votes in self._votes.items()
                if owner == label_id
            ],
            "shapes": [],
        }


def _keyframe(shape_type: str, frame: int, state: State, rotation: float) -> dict[str, Any]:
    outside, occluded, z_order, attributes = state
    return {
        "type": shape_type,
        "frame": frame,
        "outside": outside,
        "occluded": occluded,
        "rotation": rotation,
        "z_order": z_order,
        "attributes": [{"spec_id": spec_id, "value": value} for spec_id, value in attributes],
    }


def _elements(shape: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(shape.get("elements") or (), key=lambda element: int(element["label_id"]))


def _key(shape: Mapping[str, Any]) -> tuple[str, int, tuple[tuple[int, str, int], ...]]:
    """The constant properties: type and label; label, type and number of coordinates of each element."""
    return (
        shape["type"],
        shape["label_id"],
        tuple((element["label_id"], element["type"], len(element["points"])) for element in _elements(shape)),
    )
