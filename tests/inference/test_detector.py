"""What a detector calls, in which threads, and what an error on one frame does to the others."""

import io
import threading
from contextvars import ContextVar
from types import SimpleNamespace

import PIL.Image
import pytest

from prefect_cvat.auto_annotation import BadFunctionError, DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector

SIZE = (64, 48)


def frames(count, broken=()):
    """Frames whose images are not decoded yet."""
    for number in range(count):
        buffer = io.BytesIO()
        PIL.Image.new("RGB", SIZE, (number, 0, 0)).save(buffer, "PNG")
        data = buffer.getvalue()
        image = PIL.Image.open(io.BytesIO(data[:60] if number in broken else data))
        yield Frame(number, f"{number}.png", *SIZE), image


class Steps:
    """Finds a box as wide as the red of an image, plus one; notes the calls."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    batch_size = 3

    def __init__(self, fails_in=None, on=-1):
        self.fails_in, self.on = fails_in, on
        self.threads = {"preprocess_image": set(), "infer_batch": set(), "postprocess": set()}
        self.batches = []

    def note(self, step, numbers):
        self.threads[step].add(threading.current_thread())
        if self.fails_in == step and self.on in numbers:
            raise RuntimeError(f"no {step} of {self.on}")

    def preprocess_image(self, context, image):
        red = image.getpixel((0, 0))[0]
        self.note("preprocess_image", [red])
        return context.frame_name, red

    def infer_batch(self, contexts, inputs):
        assert [context.frame_name for context in contexts] == [name for name, _ in inputs]
        self.note("infer_batch", [red for _, red in inputs])
        self.batches.append(len(inputs))
        return [red + 1 for _, red in inputs]

    def postprocess(self, context, output):
        assert context.frame_name == f"{output - 1}.png"
        self.note("postprocess", [output - 1])
        yield rectangle(0, [0, 0, output, 9])


def widths(found):
    return {each.frame: each.shapes[0].points[2] if each.shapes else None for each in found}


def test_steps_have_threads_of_their_own_and_results_are_in_order():
    function = Steps()
    found = list(Detector(function).detect(frames(20)))
    assert [each.frame for each in found] == list(range(20))
    assert widths(found) == {number: number + 1 for number in range(20)}
    assert function.batches == [3, 3, 3, 3, 3, 3, 2]
    here = {threading.current_thread()}
    assert function.threads["infer_batch"] == here, "a device is used by one thread"
    assert len(function.threads["postprocess"]) == 1
    assert not (function.threads["postprocess"] | function.threads["preprocess_image"]) & here


def test_steps_have_the_context_of_the_caller():
    """Prefect's loggers find the run of a thread in it."""
    run = ContextVar("run", default=None)
    seen = set()

    class Logs(Steps):
        def note(self, step, numbers):
            seen.add((step, run.get()))
            super().note(step, numbers)

    run.set("a run")
    assert len(list(Detector(Logs()).detect(frames(9)))) == 9
    assert seen == {(step, "a run") for step in ("preprocess_image", "infer_batch", "postprocess")}


def test_images_are_preprocessed_while_the_model_runs():
    """Each call of the model waits until the images of the next call are preprocessed."""
    preprocessed = threading.Semaphore(0)

    class Waits(Steps):
        def preprocess_image(self, context, image):
            try:
                return super().preprocess_image(context, image)
            finally:
                preprocessed.release()

        def infer_batch(self, contexts, inputs):
            for _ in range(3 if len(self.batches) < 5 else 0):
                assert preprocessed.acquire(timeout=30)
            if len(self.batches) == 1:
                assert preprocessed.acquire(timeout=30), "the next image waits for this call"
            return super().infer_batch(contexts, inputs)

    assert len(list(Detector(Waits()).detect(frames(18)))) == 18


@pytest.mark.parametrize("step", ["preprocess_image", "infer_batch", "postprocess"])
def test_an_error_names_its_frame_and_step(step):
    detector = Detector(Steps(step, on=4))
    with pytest.raises(BadFunctionError, match=rf"frame 4 .*no {step} of 4.*test_detector.py, line"):
        list(detector.detect(frames(9)))


@pytest.mark.parametrize("step", ["preprocess_image", "infer_batch", "postprocess"])
def test_frames_with_an_error_are_skipped_one_by_one(step):
    function = Steps(step, on=4)
    found = list(Detector(function, on_frame_error="skip").detect(frames(9)))
    assert widths(found) == {number: None if number == 4 else number + 1 for number in range(9)}
    assert {each.frame for each in found if each.error} == {4}
    assert f"no {step} of 4" in found[4].error


@pytest.mark.parametrize("steps", [True, False])
def test_broken_images_are_skipped_or_end_the_run(steps):
    def detect(context, image):
        return [rectangle(0, [0, 0, image.getpixel((0, 0))[0] + 1, 9])]

    function = Steps() if steps else SimpleNamespace(spec=Steps.spec, detect=detect)
    found = list(Detector(function, on_frame_error="skip").detect(frames(9, broken=[0, 5])))
    assert {each.frame for each in found if each.error} == {0, 5}
    assert all("frame" in each.error for each in found if each.error)
    with pytest.raises(MediaError, match="frame 5"):
        list(Detector(function).detect(frames(9, broken=[5])))


def test_too_few_outputs_are_refused():
    function = Steps()
    function.infer_batch = lambda contexts, inputs: [1]
    with pytest.raises(BadFunctionError, match="infer_batch returned results for 1 image where 3 were given"):
        list(Detector(function).detect(frames(3)))


def test_a_function_that_does_not_read_pixels_does_not_pay_for_them():
    decoded = []

    def opened():
        for frame, image in frames(6):
            decoded.append(image)
            yield frame, image

    function = SimpleNamespace(spec=Steps.spec, detect=lambda context, image: [])
    assert len(list(Detector(function).detect(opened()))) == 6
    assert all(image.tile for image in decoded)


class Adapts(Steps):
    """Doubles its batch size with each call, up to 8, and halves it once at frame 20."""

    def __init__(self):
        super().__init__()
        self.batch_size = 1

    def infer_batch(self, contexts, inputs):
        assert len(inputs) <= self.batch_size
        self.batch_size = 2 if inputs[-1][1] > 20 else min(2 * self.batch_size, 8)
        return super().infer_batch(contexts, inputs)


def test_batch_size_that_changes_is_followed():
    function = Adapts()
    found = list(Detector(function).detect(frames(30)))
    assert widths(found) == {number: number + 1 for number in range(30)}
    assert function.batches == [1, 2, 4, 8, 8, 2, 2, 2, 1]


def test_error_in_a_large_batch_names_the_first_and_the_last_frame():
    function = Steps("infer_batch", on=20)
    function.batch_size = 16
    with pytest.raises(
        BadFunctionError, match=r"^function failed on 16 frames from frame 16 \(16.png\) to frame 31"
    ):
        list(Detector(function).detect(frames(40)))
