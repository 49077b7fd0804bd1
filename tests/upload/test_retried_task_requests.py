"""A stage that is retried after a request to the task has failed sends nothing twice."""

from collections import Counter

import pytest

from prefect_cvat import Client
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import StorageError, TransportError
from prefect_cvat.upload.annotation_files import StoredAnnotationFile
from prefect_cvat.upload.job_writer import JobWriter
from prefect_cvat.upload.sending.task_sender import TaskSender
from upload.retried_runs import retried

FRAMES = 24


class Boxes:
    """Two boxes on each image."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])

    def detect(self, context, image):
        return [rectangle(0, [left, 1, left + 9, 20], score=0.5) for left in (1, 3)]


@pytest.fixture
def task_id(make_task, monkeypatch):
    """A task with 12 jobs, of which five fit into a request."""
    monkeypatch.setattr(JobWriter, "max_annotations", 20)
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setattr("prefect_cvat.upload.sending.upload_queue.FIRST_WAIT", 60)
    return make_task(FRAMES, segment_size=2, chunk_size=4)


def boxes_by_frame(client, task_id):
    return Counter(
        shape["frame"] for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes
    )


@pytest.mark.usefixtures("short_late_commits")
def test_outcome_that_cannot_be_read_at_first_is_found_out_before_anything_is_sent_again(
    client, task_id, monkeypatch
):
    create, send = Client.create_task_annotations, TaskSender.send
    states = []

    def lose_first_answer(self, *args):
        answer = create(self, *args)
        if states:
            return answer
        states.append("no answer")
        raise TransportError("no answer", was_sent=True)

    def answer_after_first_failure(self, *args):
        try:
            return send(self, *args)
        except TransportError:
            states.append("answers again")
            raise

    def away(method):
        def read(self, *args):
            if states == ["no answer"]:
                raise TransportError("no answer", was_sent=True)
            return method(self, *args)

        return read

    monkeypatch.setattr(Client, "create_task_annotations", lose_first_answer)
    monkeypatch.setattr(TaskSender, "send", answer_after_first_failure)
    for name in ("job", "iter_job_annotations"):
        monkeypatch.setattr(Client, name, away(getattr(Client, name)))
    report = retried(client, task_id, Boxes(), frames_per_batch=4)

    assert boxes_by_frame(client, task_id) == dict.fromkeys(range(FRAMES), 2)
    assert (report.added, report.missing) == (2 * FRAMES, 0)
    assert states == ["no answer", "answers again"]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_answer_that_could_not_be_stored_is_read_again(client, task_id, monkeypatch, failing):
    extend = StoredAnnotationFile.extend
    calls = []

    def full(self, annotations):
        annotations = list(annotations)
        if annotations and str(self._file.path).endswith("-added"):
            calls.append(annotations)
            if len(calls) == failing:  # one of the jobs of the first request
                raise StorageError("no space left")
        extend(self, annotations)

    monkeypatch.setattr(StoredAnnotationFile, "extend", full)
    report = retried(client, task_id, Boxes(), frames_per_batch=4)

    assert boxes_by_frame(client, task_id) == dict.fromkeys(range(FRAMES), 2)
    assert (report.added, report.missing) == (2 * FRAMES, 0)
