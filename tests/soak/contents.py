"""The contents of annotations, in a form that allows comparing intended with stored ones. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from soak.findings import detections, detections_of_movers, followed, movers, reach, refined
from soak.schedule import Json, Schedule

Content: TypeAlias = Hashable
"""What an annotation of a job says: all but its ids."""


@dataclass(frozen=True)
class JobFrames:
    """A job: its id, type and frames."""

    id: int
    type: str
    first: int
    last: int


@dataclass(frozen=True)
class Task:
    """What the oracle knows about the task.

    Attributes:
        names: The names of the frames.
        annotated: The frames that runs write to, by job id.
        deleted: The deleted frames, on which tracks are not visible.
        labels: The names of labels and sublabels, by id.
        specs: The names of attributes, by id.
    """

    names: tuple[str, ...]
    jobs: tuple[JobFrames, ...]
    annotated: Mapping[int, frozenset[int]]
    deleted: frozenset[int]
    labels: Mapping[int, str]
    specs: Mapping[int, str]

    def content(self, job_id: int, kind: str, item: Json) -> Content:
        """What a stored annotation says."""
        label = self.labels[item["label_id"]]
        values = tuple(sorted((self.specs[a["spec_id"]], a["value"]) for a in item["attributes"]))
        if kind == "tracks":
            job = next(job for job in self.jobs if job.id == job_id)
            shown = tuple(_shown(item["shapes"], range(job.first, job.last + 1)))
            return ("track", label, item["source"], item["group"], values, shown)
        elements = tuple(
            sorted(
                (self.labels[e["label_id"]], e["type"], _rounded(e["points"]), e["score"])
                for e in item.get("elements") or ()
            )
        )
        rest = tuple(item[name] for name in _REST if name in item)
        points = _rounded(item.get("points") or ())
        return (item["frame"], label, item.get("type"), item["source"], points, item.get("score"), values, elements, rest)  # fmt: skip

    def frames_of(self, job_id: int, kind: str, item: Json) -> set[int]:
        """The frames that an annotation says something about, or can be seen on."""
        if kind != "tracks":
            return {item["frame"]}
        job = next(job for job in self.jobs if job.id == job_id)
        shown = {frame for frame, _ in _shown(item["shapes"], range(job.first, job.last + 1))}
        return {shape["frame"] for shape in item["shapes"]} | (shown - self.deleted)


_REST = ("group", "occluded", "outside", "z_order", "rotation")
_NO_REST = (0, False, False, 0, 0)


def _rounded(points: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in points)


def _shown(keyframes: Iterable[Json], frames: range) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Where a track can be seen, as CVAT draws it: straight lines between keyframes."""
    ordered = sorted(keyframes, key=lambda shape: int(shape["frame"]))
    for frame in frames:
        before = [shape for shape in ordered if shape["frame"] <= frame]
        after = [shape for shape in ordered if shape["frame"] > frame]
        if not before or before[-1]["outside"]:
            continue
        points = before[-1]["points"]
        if after:
            way = (frame - before[-1]["frame"]) / (after[0]["frame"] - before[-1]["frame"])
            points = [a + (b - a) * way for a, b in zip(points, after[0]["points"], strict=True)]
        yield frame, _rounded(points)


def _values(label: str, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(({"size": "m", "shy": "false"} | given if label == "car" else given).items()))


def _detected(frame: int, item: Json) -> Content:
    is_tag = item["kind"] == "tag"
    elements = tuple(
        sorted(
            (name, "points", _rounded(points), 1.0) for name, points in (item.get("elements") or {}).items()
        )
    )
    return (
        frame,
        item["label"],
        None if is_tag else item["kind"],
        "auto",
        _rounded(item.get("points") or ()),
        None if is_tag else item["score"],
        _values(item["label"], item.get("attributes") or {}),
        elements,
        (0,) if is_tag else _NO_REST,
    )


def _track(label: str, source: str, shown: Mapping[int, Iterable[float]]) -> Content:
    points = tuple((frame, _rounded(shown[frame])) for frame in sorted(shown))
    return ("track", label, source, 0, _values(label, {}), points)


def wanted(schedule: Schedule, task: Task, job: JobFrames) -> Iterator[tuple[frozenset[int], Content]]:
    """The contents that detecting runs want in a job, each with the frames it covers."""
    frames = task.annotated[job.id]
    if schedule.kind in ("annotate", "undo"):
        for frame in frames:
            for item in detections(schedule.key, task.names[frame]):
                yield frozenset({frame}), _detected(frame, item)
    elif schedule.kind == "track" and frames:
        for frame in frames:
            for item in detections_of_movers(schedule.key, schedule.frames, frame):
                if item["kind"] == "tag":
                    yield frozenset({frame}), _detected(frame, item)
        for each in movers(schedule.key, schedule.frames):
            shown = {
                n: each.points(n) for n in range(max(job.first, each.first), min(job.last, each.last) + 1)
            }
            if shown:
                yield frozenset(shown), _track(each.label, "auto", shown)


def results(
    schedule: Schedule, task: Task, job_id: int, kind: str, item: Mapping[str, Any]
) -> list[tuple[int, Content]]:
    """What an annotation of a job is turned into, where runs do that: contents with the ids of their jobs.

    Nothing if it is not turned into anything.
    """
    if kind != "shapes" or item["type"] != "rectangle" or not task.annotated[job_id]:
        return []
    label = task.labels[item["label_id"]]
    if schedule.kind == "refine":
        points = refined(item["points"])
        source = "auto" if item["source"] == "auto" else "semi-auto"
        values = tuple(sorted((task.specs[a["spec_id"]], a["value"]) for a in item["attributes"]))
        rest = (item["group"], item["occluded"], False, item["z_order"], 0)
        content = (
            item["frame"],
            label,
            "polygon",
            source,
            _rounded(points or ()),
            item["score"],
            values,
            (),
            rest,
        )
        return [] if points is None else [(job_id, content)]
    if schedule.kind != "follow" or item["source"] == "auto":
        return []
    length = reach(item["points"])
    first = item["frame"] - (length if schedule.direction != "forward" else 0)
    last = item["frame"] + (length if schedule.direction != "backward" else 0)
    shown = {
        frame: followed(item["points"], frame - item["frame"]) or ()
        for frame in range(max(first, 0), min(last, schedule.frames - 1) + 1)
    }
    if len(shown) == 1:
        return []
    parts = []
    for job in task.jobs:
        here = {frame: points for frame, points in shown.items() if job.first <= frame <= job.last}
        if here and task.annotated[job.id]:
            parts.append((job.id, _track(label, "semi-auto", here)))
    return parts
