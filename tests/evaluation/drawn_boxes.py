"""A function that finds a box on every frame, and annotations as people draw them."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle


class Boxes:
    """Finds a car at the same position on every frame, with a different score on each."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])
    version = "boxes"

    def __init__(self):
        self.seen = []

    def detect(self, context, image):
        self.seen.append(context.frame_name)
        return [rectangle(7, [10, 10, 30, 30], score=0.9)]


def manual(frame, label_id, points=(10, 10, 30, 30), **fields):
    return {
        "type": "rectangle", "frame": frame, "label_id": label_id, "points": list(points), "source": "manual",
    } | fields  # fmt: skip


def draw(client, task_id, shapes=(), tags=(), tracks=()):
    """Put annotations into the first job."""
    job = next(job for job in client.jobs(task_id) if job.type == "annotation")
    body = {"shapes": list(shapes), "tags": list(tags), "tracks": list(tracks)}
    client.create_job_annotations(job.id, body)


def labels_of(client, task_id):
    return {label.name: label.id for label in client.labels(task_id)}


def ground_truth_job(client, task_id, frames):
    body = {"type": "ground_truth", "task_id": task_id, "frame_selection_method": "manual", "frames": frames}
    return client.json("POST", "/api/jobs", body=body)["id"]
