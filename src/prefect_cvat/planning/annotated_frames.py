"""Which frames of a task are annotated already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_cvat.cvat.client import Client
from prefect_cvat.models import is_manual
from prefect_cvat.planning.plan import ExclusionReason, Plan

__all__ = ["exclude_annotated", "shown_frames", "shown_ranges"]


def exclude_annotated(client: Client, plan: Plan) -> Plan:
    """Leave the frames out of a plan that are annotated: those that have a tag, a shape, or a track.

    All jobs of the plan are read for that, and no others. Where jobs overlap, a frame counts as annotated
    when a human has annotated it in one of them, or when something is on it in each: a run that was killed
    may have written a frame to one job and not yet to the next.
    """
    size = plan.info.meta.size
    is_empty_in_a_job = bytearray(size)
    has_manual = bytearray(size)
    for job in plan.jobs:
        first = job.start_frame
        is_empty = bytearray(b"\1") * (job.stop_frame + 1 - first)
        for _, annotation in client.iter_job_annotations(job.id):
            manual = is_manual(annotation)
            for begin, end in shown_ranges(annotation, job.stop_frame):
                begin, end = max(begin, first), min(end, job.stop_frame + 1)
                length = max(0, end - begin)
                is_empty[begin - first : begin - first + length] = bytes(length)
                if manual:
                    has_manual[begin : begin + length] = b"\1" * length
        for number in plan.frames_between(first, job.stop_frame).numbers:
            is_empty_in_a_job[number] |= is_empty[number - first]
    return plan.without(
        lambda number: has_manual[number] or not is_empty_in_a_job[number], ExclusionReason.ANNOTATED
    )


def shown_frames(annotation: Mapping[str, Any], last_frame: int) -> set[int]:
    """The frames that a tag, a shape or a track can be seen on.

    Args:
        annotation: As the server's JSON object.
        last_frame: The last frame of its job: CVAT shows a track until it is outside, or to the end.
    """
    ranges = shown_ranges(annotation, last_frame)
    return {frame for begin, end in ranges for frame in range(begin, min(end, last_frame + 1))}


def shown_ranges(annotation: Mapping[str, Any], last_frame: int) -> Iterator[tuple[int, int]]:
    """The same frames as ranges, which may overlap: the first frame, and the one after the last."""
    if "shapes" not in annotation:
        yield annotation["frame"], annotation["frame"] + 1
        return
    for part in annotation.get("elements") or [annotation]:
        keyframes = sorted(part["shapes"], key=lambda shape: int(shape["frame"]))
        ends = [*(shape["frame"] for shape in keyframes[1:]), last_frame + 1]
        for shape, end in zip(keyframes, ends, strict=False):
            if not shape.get("outside"):
                yield shape["frame"], end
