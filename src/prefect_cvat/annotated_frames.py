"""Which frames of a task are annotated already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_cvat.client import Client
from prefect_cvat.human_work import is_human
from prefect_cvat.plan import LeftOut, Plan

__all__ = ["leave_out_annotated", "shown_frames"]


def leave_out_annotated(client: Client, plan: Plan) -> Plan:
    """Leave the frames out of a plan that are annotated: those that have a tag, a shape, or a track.

    All jobs of the plan are read for that, and no others. Where jobs overlap, a frame counts as annotated
    when a human has annotated it in one of them, or when something is on it in each: a run that was killed
    may have written a frame to one job and not yet to the next.
    """
    empty_in_a_job: set[int] = set()
    by_humans: set[int] = set()
    for job in plan.jobs:
        empty = {frame.number for frame in plan.frames_between(job.start_frame, job.stop_frame)}
        for _, annotation in client.each_job_annotation(job.id):
            frames = shown_frames(annotation, job.stop_frame)
            empty -= frames
            if is_human(annotation):
                by_humans |= frames
        empty_in_a_job |= empty
    annotated = {frame.number for frame in plan.frames} - (empty_in_a_job - by_humans)
    return plan.without(annotated, LeftOut.ANNOTATED)


def shown_frames(annotation: Mapping[str, Any], last_frame: int) -> set[int]:
    """The frames that a tag, a shape or a track can be seen on.

    Args:
        annotation: As the server's JSON object.
        last_frame: The last frame of its job: CVAT shows a track until it is outside, or to the end.
    """
    if "shapes" not in annotation:
        return {annotation["frame"]}
    frames: set[int] = set()
    for part in annotation.get("elements") or [annotation]:
        keyframes = sorted(part["shapes"], key=lambda shape: int(shape["frame"]))
        ends = [*(shape["frame"] for shape in keyframes[1:]), last_frame + 1]
        for shape, end in zip(keyframes, ends, strict=False):
            if not shape.get("outside"):
                frames.update(range(shape["frame"], end))
    return frames
