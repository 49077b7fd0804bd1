"""Tracks that `TrackBuilder` builds of detections, and readers of them."""

from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job, Label
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder

LABELS = [
    Label.model_validate(
        {
            "id": 1,
            "name": "car",
            "attributes": [
                {"id": 11, "name": "colour", "input_type": "text", "default_value": "red"},
                {"id": 12, "name": "turn", "input_type": "text", "default_value": "none", "mutable": True},
            ],
        }
    ),
    Label.model_validate(
        {
            "id": 2,
            "name": "body",
            "type": "skeleton",
            "sublabels": [
                {"id": 21, "name": "a"},
                {
                    "id": 22,
                    "name": "b",
                    "attributes": [
                        {
                            "id": 23,
                            "name": "bent",
                            "input_type": "checkbox",
                            "default_value": "false",
                            "mutable": True,
                        }
                    ],
                },
            ],
        }
    ),
]


def job(number, start, stop):
    return Job(id=number, task_id=1, start_frame=start, stop_frame=stop)


def rectangle(*points, **fields):
    return {
        "type": "rectangle",
        "label_id": 1,
        "points": list(points) or [0.0, 0.0, 10.0, 10.0],
        "rotation": 0.0,
        "attributes": [],
        **fields,
    }


def skeleton(frame, a, b, **second):
    return {
        "type": "skeleton",
        "label_id": 2,
        "frame": frame,
        "elements": [
            {"type": "points", "label_id": 22, "points": list(b), **second},
            {"type": "points", "label_id": 21, "points": list(a)},
        ],
    }


def assemble(seen, *, jobs, frames=None, options=None, **fields):
    """The tracks by job of `{frame: [(number, shape), ...]}`; a shape alone is one of track 0."""
    assembler = TrackBuilder(jobs, options or TrackOptions(min_length=1, **fields), LABELS)
    for frame in frames or sorted(seen):
        items = seen.get(frame, [])
        items = [(0, items)] if isinstance(items, dict) else items
        assembler.add(frame, items, exact(items))
    assembler.finish()
    return assembler.take()


def exact(items):
    return {number for number, shape in items if shape.get("drawn")}


def keyframes(track):
    return [(shape["frame"], shape["outside"]) for shape in track["shapes"]]


def visible_frames(track, job):
    return {
        frame for frame in range(job.start_frame, job.stop_frame + 1) if interpolate(track, frame) is not None
    }
