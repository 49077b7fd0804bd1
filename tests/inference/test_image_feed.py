"""Images are prepared in advance, also those of the next batch, within bounds of memory."""

import io
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import PIL.Image
import pytest

from polling import until
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import ChunkBatch, Frame
from prefect_cvat.inference import image_feed
from prefect_cvat.inference.detector import Detector
from prefect_cvat.inference.image_feed import FedImages, ImageFeed
from prefect_cvat.media.spooled_chunks import SpooledChunks
from prefect_cvat.runs.annotate_run import PlannedAnnotateRun
from prefect_cvat.runs.execution.batch_images import BatchImages

SIZE = (64, 48)


def opened(numbers, opened_numbers=None, size=SIZE):
    for number in numbers:
        buffer = io.BytesIO()
        PIL.Image.new("RGB", size).save(buffer, "PNG")
        if opened_numbers is not None:
            opened_numbers.append(number)
        yield Frame(number, f"{number}.png", *size), PIL.Image.open(buffer)


def test_images_of_the_next_batch_are_prepared_during_the_last_calls():
    prepared = []

    def preprocess(frame, image):
        prepared.append(frame.number)
        return frame.number

    feed = ImageFeed(preprocess)
    first = FedImages(feed, opened(range(4)), lambda: 1)
    second = FedImages(feed, opened(range(4, 8)), lambda: 1, is_available=lambda index: index < 2)
    first.following = lambda: second
    assert [next(first).input for _ in range(4)] == [0, 1, 2, 3]
    first.prepare_next(lambda: False)
    until(lambda: sorted(prepared) == [0, 1, 2, 3, 4, 5])  # for the others it would have to wait
    first.close()
    assert [fed.input for fed in second] == [4, 5, 6, 7]
    second.close()
    assert (feed.waiting, feed.waiting_bytes) == (0, 0)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(image_feed, "usable_cores", lambda: 2)


def test_images_of_the_next_call_alone_are_opened_once_the_function_has_returned():
    numbers = []
    images = FedImages(ImageFeed(lambda frame, image: None), opened(range(9), numbers), lambda: 2)
    images.prepare_next(lambda: len(numbers) > 1)
    assert numbers == [0, 1]
    images.prepare_next(lambda: False)
    assert numbers == [0, 1, 2, 3, 4], "of two calls, and one for which there is no room"
    images.close()


def test_beside_an_image_that_is_too_large_for_the_bound_no_other_is_opened():
    numbers = []
    feed = ImageFeed(lambda frame, image: None)
    feed.max_bytes = 1
    images = FedImages(feed, opened(range(3), numbers), lambda: 1)
    for number in range(3):
        assert next(images).frame.number == number
        images.prepare_next(lambda: False)
        assert numbers == list(range(number + 1))
    images.close()


def test_images_are_opened_by_another_thread_while_the_function_works():
    threads = []

    class Steps:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
        batch_size = 1

        def preprocess_image(self, context, image):
            return image

        def infer_batch(self, contexts, inputs):
            time.sleep(0.01)
            return [None]

        def postprocess(self, context, output):
            return []

    def noting_threads():
        for each in opened(range(20)):
            threads.append(threading.current_thread().name.partition("_")[0])
            yield each

    assert len(list(Detector(Steps()).detect(noting_threads()))) == 20
    assert set(threads[:6]) == {"MainThread"}, "before the first call, as that could be a fast one"
    assert set(threads[6:]) == {"open"}


def test_closing_images_frees_their_room():
    feed = ImageFeed(lambda frame, image: None)
    images = FedImages(feed, opened(range(9)), lambda: 3)
    next(images)
    assert feed.waiting == 5
    images.close()
    assert (feed.waiting, feed.waiting_bytes) == (0, 0)


def test_an_image_that_cannot_be_opened_is_an_error_after_those_before_it():
    def breaks():
        yield from opened(range(3))
        raise MediaError("no more")

    images = FedImages(ImageFeed(lambda frame, image: frame.number), breaks(), lambda: 8)
    assert [next(images).input for _ in range(3)] == [0, 1, 2]
    with pytest.raises(MediaError, match="no more"):
        next(images)
    images.close()


def test_the_size_of_inputs_is_learned():
    """Until one is seen, an input is taken for three floats a pixel."""
    feed = ImageFeed(lambda frame, image: SimpleNamespace(nbytes=3 * 64 * 48))
    image = next(opened([0]))[1]
    assert feed.bytes_of(image) == 12 * 64 * 48
    feed.prepare(Frame(0, "0.png", *SIZE), image)
    assert feed.bytes_of(image) == 4 * 64 * 48, "while it is decoded it takes more than its input"


def test_pillow_keeps_the_memory_of_images_only_while_they_are_fed():
    blocks = []

    def preprocess(frame, image):
        blocks.append(PIL.Image.core.get_blocks_max())

    size = (1920, 1080)
    images = FedImages(ImageFeed(preprocess), opened(range(3), size=size), lambda: 1)
    list(images)
    assert min(blocks) >= 8
    images.close()
    assert PIL.Image.core.get_blocks_max() == 0


def test_a_run_prepares_the_next_batch_while_the_device_works(client, make_task, monkeypatch):
    """The call on the last frame of a batch waits until the first frame of the next is preprocessed."""
    task_id = make_task(4, chunk_size=2)
    chunks = []
    need = SpooledChunks.need
    monkeypatch.setattr(
        SpooledChunks, "need", lambda self, *args: (chunks.append(self), need(self, *args))[1]
    )
    is_prepared = threading.Event()

    class Steps:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
        batch_size = 1

        def preprocess_image(self, context, image):
            if context.frame_name == "0002.png":
                is_prepared.set()

        def infer_batch(self, contexts, inputs):
            if contexts[0].frame_name == "0000.png":
                until(lambda: chunks[0].is_on_disk(1))
            if contexts[0].frame_name == "0001.png":
                assert is_prepared.wait(30)
            return [None]

        def postprocess(self, context, output):
            return [rectangle(0, [1, 2, 11, 12])]

    report = annotate_task(client, task_id, Steps(), frames_per_batch=2, use_cache=False)
    assert report.added == 4


def test_images_of_the_next_batch_stay_prepared_while_a_batch_is_tried_again():
    made = []

    class Chunks:
        def is_on_disk(self, number):
            return True

        def of_batch(self):
            return SimpleNamespace()

    def feed(_opened, _is_available):
        made.append(SimpleNamespace(closed=False))
        made[-1].close = lambda images=made[-1]: setattr(images, "closed", True)
        return made[-1]

    images = BatchImages(SimpleNamespace(feed=feed), None, Chunks(), lambda batch, chunks: [])
    batches = [SimpleNamespace(index=0), SimpleNamespace(index=1)]
    chunks = ChunkBatch([SimpleNamespace(number=0, type="imageset")])
    source = SimpleNamespace(waiting=None)
    for batch in batches:
        images.add(batch, chunks)
    with suppress(ConnectionError), images.of_batch(batches[0], [], chunks, source) as first:
        following = first.following()
        raise ConnectionError
    with images.of_batch(batches[0], [], chunks, source) as again:
        assert again is not first
        assert again.following() is following
    with images.of_batch(batches[1], [], chunks, source) as second:
        assert second is following
        assert not second.closed
    assert [each.closed for each in made] == [True, True, True]


def test_a_run_holds_no_batches_whose_detections_are_known(client, make_task, monkeypatch):
    task_id = make_task(6, chunk_size=2)
    held = []
    close = PlannedAnnotateRun.close
    monkeypatch.setattr(
        PlannedAnnotateRun,
        "close",
        lambda self: (held.append(dict(self._batch_images._fetched)), close(self))[1],
    )

    class Cached:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
        version = "1"

        def detect(self, context, image):
            return [rectangle(0, [1, 2, 11, 12])]

    for _ in range(2):
        annotate_task(client, task_id, Cached(), frames_per_batch=2)
    assert held == [{}, {}]


def test_images_are_opened_one_by_one_for_a_function_that_does_not_read_them():
    numbers = []

    class Names:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])

        def detect(self, context, image):
            assert context.frame_name == f"{numbers[-1]}.png"
            return []

    assert len(list(Detector(Names()).detect(opened(range(5), numbers)))) == 5


@pytest.mark.parametrize(
    ("reads", "is_decoded", "calls"),
    [(True, False, [1, 3, 3, 1]), (False, False, [1, 3, 3, 1]), (True, True, [3, 3, 2])],
)
def test_first_call_shows_with_one_image_whether_pixels_are_read(reads, is_decoded, calls):
    seen = []

    class Batches:
        spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
        batch_size = 3

        def detect_batch(self, contexts, images):
            seen.append(len(images))
            for image in images if reads else ():
                image.load()
            return [[] for _ in images]

    def images():
        for frame, image in opened(range(8)):
            yield frame, image.copy() if is_decoded else image

    assert len(list(Detector(Batches()).detect(images()))) == 8
    assert seen == calls


def test_images_for_two_calls_wait():
    numbers = []
    feed = ImageFeed(lambda frame, image: None)
    feed.max_bytes = 2 * feed.bytes_of(next(opened([0]))[1])
    images = FedImages(feed, opened(range(9), numbers), lambda: 8)
    images.prepare_next(lambda: False)
    assert (feed.waiting, feed.waiting_bytes) == (4, 2 * feed.max_bytes)
    images.close()
