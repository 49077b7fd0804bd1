"""Replays recorded exchanges with CVAT 2.73 and compares the responses."""

import importlib.util
import re
from collections.abc import Iterator

import pytest

from prefect_cvat.sandbox import Sandbox
from sandbox.webhook_receiver import Received, Receiver
from sandbox.wire_recording import FOLDER, Exchange, comparable, load, load_received_webhooks
from sandbox.wire_replay import PASSWORD, Replay, differences

EXCHANGES = load()

# Not sent, since the sandbox does not have it.
SKIPPED = {
    "540": "exports are not a part of the sandbox",
    "541": "exports are not a part of the sandbox",
    "542": "exports are not a part of the sandbox",
    "701": "a policy server that is down is a fault",
    "702": "a policy server that is down is a fault",
    "704": "an application that is down is a fault",
    "706": "a chunk that is not ready in time is a fault",
    "721": "throttling is a fault",
    "722": "throttling is a fault",
}
# Sent, and answered otherwise, for these reasons.
DIFFERENT = {
    "347": "the page for browsers is the sandbox's own",
    "512": "the recorded server had had one request more, from before the recording",
    "513": "the recorded server had had a second administrator, from before the recording",
    "544": "the text names the export requests that the sandbox does not have",
}
# Which frames are for validation, and where their copies go, is random: only the outline is compared.
RANDOM = {"811", "812", "816", "817", "818", "820", "825", "836", "853", "858", "862"}
# Lists that the video tasks are in.
WITH_VIDEOS = {"164", "165", "166", "497", "498", "502", "503", "512"}
HAS_PYAV = importlib.util.find_spec("av") is not None


def needs_pyav(exchange: Exchange) -> bool:
    path = exchange.request["path"] + str(exchange.request["query"])
    return (
        "video" in exchange.label
        or "lab video" in path
        or exchange.label.startswith("poison")
        or exchange.number in WITH_VIDEOS
        or re.search(r"tasks/13[234]|task_id%3D13[234]|jobs/12[4-9]", path) is not None
    )


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Where the webhook of the recording sends to."""
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(receiver: Receiver) -> Iterator[dict[str, list[str]]]:
    found = {}
    with Sandbox(password=PASSWORD) as server:
        replay = Replay(server.url, EXCHANGES, webhook_url=receiver.url)
        replay.prepare("/api/auth/register", {"username": "admin1", "password1": "a", "password2": "a"})
        for exchange in EXCHANGES:
            if exchange.number == "548" and HAS_PYAV:
                # The recording added a skeleton label to this task separately.
                replay.give_skeleton(133, (518, 519, 520))
            possible = HAS_PYAV or not needs_pyav(exchange) or is_needed(exchange)
            if exchange.number not in SKIPPED and possible:
                found[exchange.number] = replay.send(exchange, by_outline=exchange.number in RANDOM)
            if exchange.number == "162":
                # The recording has only the first of twelve.
                for index in range(1, 12):
                    replay.prepare("/api/tasks", {"name": f"empty {index:02}", "labels": [{"name": "x"}]})
            if exchange.number == "547":
                replay.log_in_again()
        yield found


def is_needed(exchange: Exchange) -> bool:
    """Whether later exchanges depend on this one even without videos: the tasks are listed."""
    return exchange.request["method"] == "POST" and exchange.request["path"] == "/api/tasks"


@pytest.mark.skipif(not EXCHANGES, reason=f"no recorded exchanges in {FOLDER}: set PREFECT_CVAT_WIRE")
def test_recording_is_complete() -> None:
    assert len(EXCHANGES) > 500


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: f"{exchange.number}-{exchange.label}")
def test_responds_like_cvat(exchange: Exchange, outcomes: dict[str, list[str]]) -> None:
    if exchange.number in SKIPPED:
        pytest.skip(SKIPPED[exchange.number])
    if not HAS_PYAV and needs_pyav(exchange):
        pytest.skip("PyAV, which videos need, is not installed")
    if exchange.number in DIFFERENT:
        assert outcomes[exchange.number], "the difference is gone: take it off the list"
        pytest.xfail(DIFFERENT[exchange.number])
    assert outcomes[exchange.number] == []


@pytest.mark.skipif(not EXCHANGES, reason=f"no recorded exchanges in {FOLDER}: set PREFECT_CVAT_WIRE")
def test_sends_webhook_bodies_of_cvat(outcomes: dict[str, list[str]], receiver: Receiver) -> None:
    recorded = load_received_webhooks()
    found: list[Received] = receiver.wait_for(len(recorded))
    for ours, theirs in zip(found, recorded, strict=True):
        body, expected = (comparable({"json": one}, route="webhook") for one in (ours.body, theirs["body"]))
        assert differences(body, expected) == []
        assert list(ours.body) == list(theirs["body"])
        assert ours.headers["content-type"] == theirs["headers"]["Content-Type"]
        assert ours.headers["user-agent"].startswith("CVAT/2.73.0 ")
        # The recording replaced the secret with this.
        assert ours.is_signed_with("<secret>")
