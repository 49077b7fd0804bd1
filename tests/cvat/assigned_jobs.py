"""Tasks with assigned jobs, runs on these jobs, and their annotations."""

import io
import itertools

from clips import number_on, numbered_picture
from prefect_cvat import TrackOptions, annotate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag

NUMBERS = itertools.count()


LABELS = [label_spec("car", None), label_spec("any", None)]


def numbered(client, count=20, **fields):
    """A task of pictures that show their numbers."""
    data = {
        name: fields.pop(name) for name in ("frame_filter", "start_frame", "stop_frame") if name in fields
    }
    task = client.create_task("numbered", LABELS, **fields).id
    images = {}
    for number in range(count):
        buffer = io.BytesIO()
        numbered_picture(number).save(buffer, "PNG")
        images[f"{number:03}.png"] = buffer.getvalue()
    client.upload_images(task, images, chunk_size=3, **data)
    return task


class Numbers:
    """Finds a car where the number on the picture says, and tags each frame."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("any", 2, type="tag")])
    version = "1"

    def __init__(self):
        self.seen = []

    def detect(self, context, image):
        number = number_on(image)
        self.seen.append((context.frame_name, number))
        return [rectangle(1, [number, 5, number + 30, 40], score=0.75), tag(2)]


def written(client, jobs):
    """What jobs hold, without what differs between two runs on purpose: ids."""

    def bare(item):
        return {
            key: [bare(part) for part in value] if key in ("shapes", "elements") else value
            for key, value in item.items()
            if key != "id"
        }

    result = {}
    for job in jobs:
        data = client.job_annotations(job)
        result[job] = [
            sorted(repr(sorted(bare(item).items())) for item in items)
            for items in (data.tags, data.shapes, data.tracks)
        ]
    return result


def clear(client, jobs):
    for job in jobs:
        data = client.job_annotations(job)
        client.delete_job_annotations(job, data.model_dump())


def annotate(client, task_id, jobs):
    return annotate_task(client, task_id, Numbers(), jobs=jobs, allow_unmatched_labels=True, use_cache=False)


def track(client, task_id, jobs):
    tracking = TrackOptions(min_length=1)
    return track_task(
        client,
        task_id,
        Numbers(),
        jobs=jobs,
        track_options=tracking,
        allow_unmatched_labels=True,
        use_cache=False,
    )
