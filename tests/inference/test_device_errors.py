"""GPUs that fail during a run, or run out of memory."""

import io

import PIL.Image
import pytest
import torch

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import DeviceError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector


def frames(count):
    for number in range(count):
        buffer = io.BytesIO()
        PIL.Image.new("RGB", (64, 48), (number, 0, 0)).save(buffer, "PNG")
        yield Frame(number, f"{number}.png", 64, 48), PIL.Image.open(buffer)


class Boxes:
    """Finds a box on each image, in three steps."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    version = "1"
    batch_size = 3

    def note(self, step, names):
        pass

    def preprocess_image(self, context, image):
        self.note("preprocess_image", [context.frame_name])
        return image.size

    def infer_batch(self, contexts, inputs):
        self.note("infer_batch", [context.frame_name for context in contexts])
        return inputs

    def postprocess(self, context, output):
        self.note("postprocess", [context.frame_name])
        return [rectangle(0, [0, 0, *output])]


DEVICE_FAILURES = [
    torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ..."),
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be ..."),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
]


class Dies(Boxes):
    """Its device fails on an image, and on all images thereafter."""

    def __init__(self, error, step="infer_batch", at="4.png"):
        self.error, self.step, self.at = error, step, at
        self.is_dead = False
        self.calls_of_dead_device = 0

    def note(self, step, names):
        if step == self.step and (self.is_dead or self.at in names):
            self.calls_of_dead_device += self.is_dead
            self.is_dead = True
            raise self.error


@pytest.mark.parametrize("on_frame_error", ["fail", "skip"])
@pytest.mark.parametrize("error", DEVICE_FAILURES, ids=str)
def test_failure_of_the_device_ends_the_run_without_trying_each_frame(error, on_frame_error):
    function = Dies(error)
    with pytest.raises(DeviceError) as raised:
        list(Detector(function, on_frame_error=on_frame_error).detect(frames(30)))
    message = str(raised.value)
    assert "frame 3 (3.png), frame 4 (4.png), frame 5 (5.png): the device of 'Dies' has failed: " in message
    assert message.endswith(
        ". What was written stays. Check the device, and run again in a new process to complete the task"
    )
    assert "kernel errors" not in message
    assert function.calls_of_dead_device == 0


@pytest.mark.parametrize("step", ["preprocess_image", "postprocess"])
def test_failure_of_the_device_ends_the_run_in_other_steps(step):
    # frame 4, or one that another thread prepares at the same time
    with pytest.raises(
        DeviceError, match=rf"frame (\d) .\1.png.: {step} failed: the device of 'Dies' has failed"
    ):
        list(Detector(Dies(DEVICE_FAILURES[0], step), on_frame_error="skip").detect(frames(9)))


class RunsOut(Boxes):
    """Has no memory for image 4."""

    def __init__(self, error):
        self.error = error

    def note(self, step, names):
        if step == "infer_batch" and "4.png" in names:
            raise self.error


def test_out_of_memory_is_no_failure_of_the_device():
    for error in (torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUDA error: out of memory")):
        found = list(Detector(RunsOut(error), on_frame_error="skip").detect(frames(6)))
        assert [each.frame for each in found if each.error] == [4]


def test_run_on_a_device_that_fails_is_completed_by_the_next(client, make_task, sent_at_once):
    task_id = make_task(12, segment_size=2)

    def frames_annotated():
        return sorted(
            shape["frame"] for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes
        )

    function = Dies(DEVICE_FAILURES[0], at="0008.png")
    message = (
        rf"^task {task_id}, batch 4 \(frames 8-9\): function failed on frame 8 .* the device of 'Dies' has failed:"
        " AcceleratorError: CUDA error: unspecified launch failure"
    )
    with pytest.raises(DeviceError, match=message):
        annotate_task(client, task_id, function, frames_per_batch=2, on_frame_error="skip")
    assert function.calls_of_dead_device == 0
    written = frames_annotated()
    assert len(written) >= 2
    assert written == list(range(len(written)))
    report = annotate_task(client, task_id, Dies(None, at=None), frames_per_batch=2)
    assert frames_annotated() == list(range(12))
    assert report.frames_from_cache == 8
