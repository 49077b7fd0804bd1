"""Shapes that are refined, and what jobs hold."""

import json

WIDTH, HEIGHT = 64, 48


def label_ids(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


def box(label_id, frame=0, x=5.0, width=12.0, **fields):
    return {"type": "rectangle", "frame": frame, "label_id": label_id, "points": [x, 6.0, x + width, 20.0],
            "source": "manual", **fields}  # fmt: skip


def place(client, job, *shapes, **others):
    return client.create_job_annotations(job.id, {"shapes": shapes, **others})


def shapes_of(client, task_id):
    return [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]


def state(client, task_id):
    """All annotations of the jobs without ids, in a canonical order."""
    found = []
    for number, job in enumerate(client.jobs(task_id)):
        data = client.job_annotations(job.id)
        for item in (*data.tags, *data.shapes, *data.tracks):
            found.append(
                f"{number} {json.dumps({k: v for k, v in item.items() if k != 'id'}, sort_keys=True)}"
            )
    return sorted(found)
