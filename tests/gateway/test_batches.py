"""Calls of several annotators at once: put together on the device, and answered each with its own."""

import time
from concurrent.futures import ThreadPoolExecutor

from cvat_calls import encoded
from gateway_functions import CAR, BatchedDetection, Detection
from pictures import picture
from prefect_cvat.auto_annotation import rectangle
from prefect_cvat.gateway import function_thread


class BySize(BatchedDetection):
    """A rectangle of the size of the image; fails on images of 13 pixels width."""

    def detect_batch(self, contexts, images):
        self.batches.append(len(images))
        time.sleep(0.05)
        assert all(image.width != 13 for image in images), "13"
        return [[rectangle(CAR, [0, 0, *image.size], score=0.5)] for image in images]


def at_once(calls, bodies):
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: calls.invoke("det", body), bodies))


def test_calls_at_once_become_batches(serve):
    function = BatchedDetection()
    calls = serve(det=function)
    calls.from_page("det")
    answers = at_once(calls, [{"image": encoded()}] * 8)
    assert all(answer.json() for answer in answers)
    assert sum(function.batches) == 9
    assert len(function.batches) <= 4


def test_each_call_gets_its_own_answer(serve):
    function = BySize()
    calls = serve(det=function)
    sizes = [(10 + number, 8) for number in range(12) if number != 3]
    answers = at_once(calls, [{"image": encoded(picture(*size))} for size in sizes])
    assert [answer.json()[0]["points"] for answer in answers] == [[0, 0, *size] for size in sizes]
    assert max(function.batches) > 1


def test_one_bad_image_does_not_fail_the_others(serve):
    calls = serve(det=BySize())
    answers = at_once(calls, [{"image": encoded(picture(10 + number, 8))} for number in range(6)])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 500, 200, 200]


def test_calls_with_different_thresholds_are_not_mixed(serve):
    function = BatchedDetection()
    function.annotations = [rectangle(CAR, [1, 2, 3, 4], score=score) for score in (0.3, 0.6)]
    calls = serve(det=function)
    answers = at_once(calls, [{"image": encoded(), "threshold": 0.25 if n % 2 else 0.5} for n in range(8)])
    assert [len(answer.json()) for answer in answers] == [1, 2] * 4


def test_single_calls_do_not_wait_for_others(serve, monkeypatch):
    """With a window of a minute, a call that waited for others would not answer."""
    monkeypatch.setattr(function_thread, "BATCH_WINDOW", 60.0)
    monkeypatch.setattr(function_thread, "LONGEST_WINDOW", 60.0)
    calls = serve(det=BatchedDetection(first=0.0, further=0.0))
    calls.from_page("det")
    for _ in range(3):
        assert calls.invoke("det", {"image": encoded()}).json()


def test_function_without_batches_answers_one_after_the_other(serve):
    function = Detection(seconds=0.02)
    calls = serve(det=function)
    answers = at_once(calls, [{"image": encoded()}] * 5)
    assert all(answer.json() for answer in answers)
    assert len(function.contexts) == 5
