"""A function, and the corrections that people make in a task of what it found, as CVAT's pages send them."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag


class Boxes:
    """Finds two cars on each frame: at the same place, with the scores 0.9 and 0.4."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])

    def __init__(self, x=2.0, version="1"):
        self.x = x
        self.version = version

    def detect(self, context, image):
        x = self.x
        return [
            rectangle(0, [x, 2, x + 10, 22], score=0.9),
            rectangle(0, [x + 20, 2, x + 30, 22], score=0.4),
        ]


class OtherBoxes(Boxes):
    """Another function."""


class Tags:
    """Tags each frame with `car` and `person`."""

    spec = DetectionFunctionSpec(
        labels=[label_spec("car", 0, type="tag"), label_spec("person", 1, type="tag")]
    )

    def detect(self, context, image):
        return [tag(0), tag(1)]


class People:
    """The corrections of people in a task, as CVAT's pages send them."""

    def __init__(self, client, task_id):
        self.client = client
        self.task_id = task_id
        self.labels = {label.name: label.id for label in client.labels(task_id)}
        self.jobs = sorted(client.jobs(task_id), key=lambda job: job.start_frame)

    def job(self, frame):
        return next(job for job in self.jobs if job.start_frame <= frame <= job.stop_frame)

    def shapes(self, frame, job=None):
        """The shapes on a frame, from the left to the right."""
        held = self.client.job_annotations((job or self.job(frame)).id)
        return sorted((s for s in held.shapes if s["frame"] == frame), key=lambda s: s["points"][0])

    def change(self, shape, job=None, kind="shapes", **fields):
        body = {"shapes": [], "tags": [], "tracks": [], kind: [{**shape, "source": "semi-auto", **fields}]}
        job = job or self.job(shape["frame"])
        self.client._patch_annotations(f"jobs/{job.id}", "update", body)

    def move(self, shape, by, job=None):
        """Move the left edge."""
        left, *others = shape["points"]
        self.change(shape, job, points=[left + by, *others])

    def relabel(self, shape, name, **fields):
        self.change(shape, label_id=self.labels[name], **fields)

    def delete(self, shape):
        body = {"shapes": [shape], "tags": [], "tracks": []}
        self.client.delete_job_annotations(self.job(shape["frame"]).id, body)

    def draw(self, frame, points, name="car", **fields):
        shape = {"type": "rectangle", "frame": frame, "label_id": self.labels[name],
                 "points": list(points), "source": "manual", **fields}  # fmt: skip
        [stored] = self.client.create_job_annotations(self.job(frame).id, {"shapes": [shape]}).shapes
        return stored

    def complete(self, job):
        self.client._transport.json("PATCH", f"/api/jobs/{job.id}", body={"state": "completed"})
