"""Finds the frames of a task that are annotated already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_cvat.cvat.client import Client
from prefect_cvat.models import is_manual
from prefect_cvat.planning.plan import ExclusionReason, Plan
from prefect_cvat.planning.whole_task import read_each_job

__all__ = ["exclude_annotated", "shown_frames", "shown_ranges"]


def exclude_annotated(client: Client, plan: Plan) -> Plan:
    """Exclude frames with a tag, a shape or a track from a plan.

    Only the jobs of the plan are read. A frame of several jobs counts as annotated if it has a manual
    annotation in one of them, or any annotation in each: a killed run may have written it to one job only.
    """
    size = plan.info.meta.size
    is_empty_in_a_job = bytearray(size)
    has_manual = bytearray(size)
    for job, held in read_each_job(client, plan.info, plan.jobs):
        first = job.start_frame
        is_empty = bytearray(b"\1") * (job.stop_frame + 1 - first)
        for _, annotation in held:
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
    """The frames on which a tag, a shape or a track is visible.

    Args:
        annotation: The annotation, as the server's JSON object.
        last_frame: The last frame of its job. A track is visible until it is outside, or to this frame.
    """
    ranges = shown_ranges(annotation, last_frame)
    return {frame for begin, end in ranges for frame in range(begin, min(end, last_frame + 1))}


def shown_ranges(annotation: Mapping[str, Any], last_frame: int) -> Iterator[tuple[int, int]]:
    """The visible frames as ranges [first, end), which may overlap."""
    if "shapes" not in annotation:
        yield annotation["frame"], annotation["frame"] + 1
        return
    for part in annotation.get("elements") or [annotation]:
        keyframes = sorted(part["shapes"], key=lambda shape: int(shape["frame"]))
        ends = [*(shape["frame"] for shape in keyframes[1:]), last_frame + 1]
        for shape, end in zip(keyframes, ends, strict=False):
            if not shape.get("outside"):
                yield shape["frame"], end
