"""A job to which JobWriter writes, and what somebody else does to it."""

from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.upload.job_writer import JobWriter

LATE = {"kind": "late_commit", "answer": 504, "delay": 0.25}


class ShapeWriter(JobWriter):
    """A writer of annotations that are not serialized yet."""

    def write(self, part, annotations, frames=()):
        super().write(part, map(serialize, annotations), frames)


class Scene:
    """A job of four frames, its label `car`, and what makes writers for it."""

    def __init__(self, client, task_id, new_folder):
        self.task_id = task_id
        [self.job] = client.jobs(task_id)
        self.car = client.labels(task_id)[0].id
        self._client = client
        self._new_folder = new_folder

    def rect(self, x, frame=0, **fields):
        return {"type": "rectangle", "frame": frame, "label_id": self.car, "source": "auto",
                "points": [x, 1.0, x + 5.0, 9.0], "score": 0.5, **fields}  # fmt: skip

    def writer(self, by=None, existing="keep"):
        return ShapeWriter(by or self._client, self.job, self._new_folder(), existing=Existing(existing))

    def place(self, *shapes, **others):
        return self._client.create_job_annotations(self.job.id, {"shapes": shapes, **others})

    def correct(self, x, **changes):
        [shape] = [shape for shape in self.stored().shapes if shape["points"][0] == x]
        self._client._transport.json(
            "PATCH",
            f"/api/jobs/{self.job.id}/annotations",
            params={"action": "update"},
            body={"shapes": [{**shape, "source": "semi-auto", **changes}]},
        )

    def stored(self):
        return self._client.job_annotations(self.job.id)

    def xs(self):
        return sorted(shape["points"][0] for shape in self.stored().shapes)


def run(writer, shapes, frames=range(4)):
    writer.write(0, shapes, frames)
    writer.verify()
    writer.finish()
