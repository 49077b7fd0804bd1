"""What the gateway refuses: others than CVAT, too much at a time, what is no call, functions that fail."""

import json
import threading
import time

import numpy as np
import PIL.ImageFile
import pytest
import requests

from cvat_calls import CvatCalls, encoded, image_file
from gateway_functions import Detection, Interaction, Tracking
from polling import until
from prefect_cvat.gateway import GatewayConfiguration


class Failing(Detection):
    def detect(self, context, image):
        raise ZeroDivisionError("division by zero")


class Exiting(Detection):
    def detect(self, context, image):
        raise SystemExit(3)


@pytest.mark.parametrize("secret", ["", "nuclio", "é"])
def test_other_secrets_are_refused(serve, secret):
    gateway = serve(det=Detection()).gateway
    calls = CvatCalls(gateway, secret=secret)
    calls.headers["x-nuclio-function-namespace"] = secret.encode()
    for response in (calls.functions(), calls.function("det"), calls.invoke("det", {"image": encoded()})):
        assert response.status_code == 403
        assert response.reason == "CVAT_NUCLIO_FUNCTION_NAMESPACE of CVAT is not the secret of this gateway"
    assert gateway.secret.get_secret_value() not in response.text


def test_secret_is_checked_before_the_body_is_read(serve):
    gateway = serve(det=Detection()).gateway
    response = requests.post(
        f"{gateway.url}/api/function_invocations",
        data=iter([b"x"]),
        headers={"x-nuclio-function-name": "det"},
        timeout=10,
    )
    assert response.status_code == 403


def test_health_needs_no_secret_and_says_none(serve):
    calls = serve(det=Detection())
    response = requests.get(f"{calls.url}/health", timeout=10)
    assert response.json() == {"status": "ok", "calls": 0, "problems": []}


def test_head_of_the_list(serve):
    calls = serve(det=Detection())
    response = requests.head(f"{calls.url}/api/functions", headers=calls.headers, timeout=10)
    assert response.status_code == 200
    assert response.text == ""


def test_direct_calls_are_told_what_to_set(serve):
    calls = serve(det=Detection())
    port = calls.function("det").json()["status"]["httpPort"]
    response = requests.post(f"http://127.0.0.1:{port}/", json={"image": encoded()}, timeout=10)
    assert response.status_code == 400
    assert "CVAT_NUCLIO_INVOKE_METHOD=dashboard" in response.reason


def test_unknown_function(serve):
    calls = serve(det=Detection())
    assert calls.refused("gone") == (404, "the gateway has no function 'gone': reload the page")
    assert calls.function("gone").status_code == 404
    assert calls.refused("ü\t".encode())[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b"null",
        b'{"image": 1}',
        b'{"image": ""}',
        b'{"image": "AAAA"}',
        b'{"image": "=?"}',
        b"\xff\xfe",
        b'{"image": NaN}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_call(serve, body):
    calls = serve(det=Detection())
    response = calls.invoke("det", body)
    assert response.status_code == 400
    assert "\n" not in response.reason
    assert calls.from_page("det")


@pytest.mark.parametrize("threshold", [2, -1, "0.5", 1e400, [1], True])
def test_threshold_that_is_none(serve, threshold):
    calls = serve(det=Detection())
    response = calls.invoke("det", json.dumps({"image": encoded(), "threshold": threshold}).encode())
    assert response.status_code == 400


def test_broken_image(serve):
    whole = image_file(np.zeros((480, 640, 3), dtype=np.uint8), "JPEG")
    status, reason = serve(det=Detection()).refused("det", whole[: len(whole) // 2])
    assert status == 400
    assert "broken" in reason


def test_image_of_too_many_pixels_is_not_decoded(serve, monkeypatch):
    huge = image_file(np.zeros((12_000, 12_000), dtype=np.uint8))
    decoded = []
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", lambda self: decoded.append(self))
    calls = serve(det=Detection(), sam=Interaction(), trk=Tracking())
    for name, fields in (
        ("det", {}),
        ("sam", {"pos_points": [[1, 1]]}),
        ("trk", {"shapes": [{"type": "rectangle", "points": [1, 2, 3, 4]}]}),
    ):
        status, reason = calls.refused(name, huge, **fields)
        assert status == 400
        assert "12000x12000" in reason
    assert decoded == []


def test_body_that_is_too_large(serve):
    calls = serve(GatewayConfiguration(port=0, max_body_bytes=2**20), det=Detection())
    for data in (b"x" * (2**20 + 1), iter([b"x" * 2**19] * 3)):
        response = requests.post(
            f"{calls.url}/api/function_invocations",
            data=data,
            headers={**calls.headers, "x-nuclio-function-name": "det"},
            timeout=10,
        )
        assert response.status_code == 413
        assert "max_body_bytes" in response.reason


def test_too_many_calls_at_a_time(serve):
    calls = serve(GatewayConfiguration(port=0, max_calls=2), det=Detection(seconds=3.0))
    threads = [threading.Thread(target=calls.from_page, args=("det",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: calls.in_progress() == 2)
    assert calls.refused("det") == (503, "the gateway is busy with 2 calls: try again in a moment")
    for thread in threads:
        thread.join()
    assert calls.from_page("det")


def test_error_names_the_line_in_the_log_and_a_reason_to_the_user(serve, caplog):
    status, reason = serve(bad=Failing()).refused("bad")
    assert status == 500
    assert reason.startswith("bad: function failed on image ")
    assert reason.endswith(": ZeroDivisionError: division by zero")
    assert __file__ not in reason
    assert f"{__file__}, line " in caplog.text


def test_function_that_exits_does_not_end_the_gateway(serve):
    calls = serve(exits=Exiting(), det=Detection())
    assert calls.refused("exits")[0] == 500
    assert calls.from_page("det")


def test_caller_that_has_given_up(serve):
    function = Detection(seconds=1.5)
    calls = serve(timeout=1, det=function)
    results = []
    first = threading.Thread(target=lambda: results.append(calls.refused("det")))
    first.start()
    until(lambda: function.contexts)
    assert calls.refused("det") == (504, "det has not answered within 0.5 s")
    first.join()
    time.sleep(1.5)
    assert len(function.contexts) == 1  # the second was not started


def test_closed_connection_is_not_carried_out(serve):
    function = Detection(seconds=1.0)
    calls = serve(det=function)
    busy = threading.Thread(target=calls.from_page, args=("det",))
    busy.start()
    until(lambda: function.contexts)
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{calls.url}/api/function_invocations",
            json={"image": encoded()},
            headers={**calls.headers, "x-nuclio-function-name": "det"},
            timeout=0.2,
        )
    busy.join()
    time.sleep(0.5)
    assert len(function.contexts) == 1


def test_function_that_hangs_does_not_hold_up_others(serve, monkeypatch):
    monkeypatch.setattr("prefect_cvat.gateway.function_host.STUCK_SECONDS", 0.5)
    calls = serve(timeout=1, hangs=Detection(seconds=4.0), det=Detection())
    assert calls.refused("hangs")[0] == 504
    assert CvatCalls(calls.gateway).from_page("det")
    time.sleep(0.2)
    status, reason = calls.refused("hangs")
    assert status == 503
    assert "the gateway must be restarted" in reason


def test_device_failure_is_said_to_health(serve):
    class Broken(Detection):
        def detect(self, context, image):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    calls = serve(gpu=Broken())
    assert calls.refused("gpu") == (500, "gpu: its GPU has failed; the gateway must be restarted")
    response = requests.get(f"{calls.url}/health", timeout=10)
    assert response.status_code == 503
    assert response.json()["problems"] == ["gpu: its GPU has failed; the gateway must be restarted"]


def test_automatic_annotation_is_recognized(serve, caplog):
    calls = serve(det=Detection())
    for _ in range(5):  # CVAT's page
        calls.from_page("det")
    assert "automatic annotation" not in caplog.text
    calls.function("det")
    for _ in range(6):  # CVAT's automatic annotation
        calls.invoke("det", {"image": encoded()})
    assert caplog.text.count("CVAT's automatic annotation runs it on a task") == 1
