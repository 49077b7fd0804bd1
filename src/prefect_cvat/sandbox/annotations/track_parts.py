"""Tracks of a task: split into jobs when they are written, joined when the task is read."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from prefect_cvat.sandbox.annotations.shared_frames import MIN_SIMILARITY, similarity
from prefect_cvat.sandbox.api.reply import Json


def cut(track: Json, start: int, stop: int) -> Json | None:
    """The part of a track in a job, or None if the track has no visible shape there.

    A track that begins before the job starts with an interpolated keyframe. Keyframes after the job are
    dropped.
    """
    shapes = _cut_shapes(track["shapes"], start, stop)
    elements = [part for part in (cut(element, start, stop) for element in track.get("elements", [])) if part]
    if not shapes and not elements:
        return None
    first = shapes[0]["frame"] if shapes else min(element["frame"] for element in elements)
    # Immutable attributes belong to the track, so each part has them.
    return {**track, "frame": first, "shapes": shapes, "elements": elements}


def interpolate(shapes: Sequence[Json], frame: int) -> Json | None:
    """The shape of a track on a frame, interpolated between keyframes with equal numbers of points."""
    index = bisect_right([shape["frame"] for shape in shapes], frame) - 1
    if index < 0:
        return None
    before = shapes[index]
    if before["frame"] == frame or index + 1 == len(shapes):
        return {**before, "frame": frame}
    after = shapes[index + 1]
    share = (frame - before["frame"]) / (after["frame"] - before["frame"])
    between: Json = {**before, "frame": frame}
    if before.get("points") is not None and before["type"] != "mask" and not before["outside"]:
        own, other = before["points"], after.get("points") or []
        if len(own) == len(other):
            between["points"] = [a + (b - a) * share for a, b in zip(own, other, strict=True)]
            # The shorter direction of rotation.
            turn = (after["rotation"] - before["rotation"] + 180) % 360 - 180
            between["rotation"] = (before["rotation"] + turn * share) % 360
    return between


def join(parts: Sequence[tuple[int, int, Json]]) -> list[Json]:
    """Join the tracks of jobs to the tracks of the task.

    Args:
        parts: First and last frame of a job, and one of its tracks, in the order of the jobs.

    Returns:
        Tracks that agree on the frames that two jobs share are joined; others end after their job.
    """
    whole: list[Json] = []
    open_ends: list[tuple[int, Json]] = []
    last = max((stop for _, stop, _ in parts), default=0)
    for start, stop, part in parts:
        found = next(
            (
                index
                for index, (end, track) in enumerate(open_ends)
                if start <= end < stop and _continues(track, part, start, end)
            ),
            None,
        )
        if found is None:
            whole.append(track := {**part})
        else:
            _, track = open_ends.pop(found)
            _append(track, part, start)
        open_ends.append((stop, track))
    for stop, track in open_ends:
        if stop < last:
            _end_after_job(track, stop + 1)
    return whole


def _cut_shapes(shapes: list[Json], start: int, stop: int) -> list[Json]:
    ordered = sorted(shapes, key=_frame)
    own = [shape for shape in ordered if start <= shape["frame"] <= stop]
    if not own or own[0]["frame"] > start:
        entering = interpolate(ordered, start)
        if entering is not None and not entering["outside"]:
            entering.pop("id", None)
            own.insert(0, entering)
    if not any(not shape["outside"] for shape in own):
        return []
    return own


def _frame(shape: Json) -> Any:
    return shape["frame"]


def _continues(track: Json, part: Json, start: int, end: int) -> bool:
    elements, others = _elements(track), _elements(part)
    if track["label_id"] != part["label_id"] or len(elements) != len(others):
        return False
    if elements:
        return all(_continues(one, other, start, end) for one, other in zip(elements, others, strict=True))
    alike = []
    for frame in range(start, end + 1):
        one, other = (_visible(owner, frame) for owner in (track, part))
        if one is not None and other is not None:
            alike.append(similarity(one, other))
        elif one is not None or other is not None:
            alike.append(0)
    return bool(alike) and sum(alike) / len(alike) >= MIN_SIMILARITY


def _visible(track: Json, frame: int) -> Json | None:
    shape = interpolate(track["shapes"], frame)
    if shape is None or shape["outside"]:
        return None
    return {**shape, "label_id": track["label_id"]}


def _append(track: Json, part: Json, start: int) -> None:
    own = {shape["frame"] for shape in track["shapes"]}
    joined = sorted([*track["shapes"], *(s for s in part["shapes"] if s["frame"] not in own)], key=_frame)
    track["shapes"] = [{**shape, "keyframe": True} for shape in joined[:-1]] + joined[-1:]
    if "elements" in track:
        track["elements"] = [{**element} for element in track["elements"]]
        for one, other in zip(track["elements"], part["elements"], strict=False):
            _append(one, other, start)


def _end_after_job(track: Json, frame: int) -> None:
    if track["shapes"] and not track["shapes"][-1]["outside"]:
        track["shapes"] = [*track["shapes"], {**track["shapes"][-1], "frame": frame, "outside": True}]
    if "elements" in track:
        track["elements"] = [{**element} for element in track["elements"]]
        for element in track["elements"]:
            _end_after_job(element, frame)


def _elements(track: Json) -> list[Json]:
    elements: list[Json] = track.get("elements", [])  # an element has none itself
    return elements
