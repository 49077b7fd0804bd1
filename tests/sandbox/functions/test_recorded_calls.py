"""Replays recorded calls of functions: what CVAT 2.73 answered, and what it asked the gateway for."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from prefect_cvat.sandbox.functions.tracker_states import sign
from sandbox.functions.recorded_world import RecordedWorld, size_and_format
from sandbox.functions.stand_in_gateway import Answer, Asked, StandInGateway, record
from sandbox.wire_replay import differences

FOLDER = Path(
    os.environ.get("PREFECT_CVAT_WIRE_FUNCTIONS") or Path(__file__).parents[4] / "shared" / "wire-functions"
)
FILES = sorted(FOLDER.glob("[0-9]*.json")) if FOLDER.is_dir() else []

ELSEWHERE = {
    "032": "test_gateway_settings has calls that take too long",
    "033": "test_gateway_settings has slow answers",
    "050": "test_gateway_settings has the ports of functions",
    "051": "test_gateway_settings has the namespace",
    "058": "test_batches has errors at a frame",
    "059": "test_batches has errors at a frame",
    "061": "test_batches has gateways that die",
    "072": "test_batches has a video",
    "073": "test_batches has more than 100 frames",
    "074": "test_batches has more than 100 frames",
    "075": "test_batches has what is cancelled",
    "076": "test_batches has two at once",
    "077": "test_batches has functions that are removed",
    "078": "test_batches has re-identification",
    "079": "test_batches has re-identification",
}
LATE = "the list takes longer than the time-out (4 s here)"
HUMAN_SHAPE = "055", "063", "an interactor as batch with cleanup"
"""Batches that began with a rectangle that a human had drawn."""

DELETED_FRAMES = {"064": [2, 6]}
FOUND = Answer(
    [
        {
            "label": "car",
            "type": "rectangle",
            "points": [1, 2, 10.5, 12],
            "attributes": [{"name": "color", "value": "blue"}],
        }
    ]
)
"""What the function answered in cases whose calls were not kept."""

CONTINUED = {"053", "054"}
"""Batches that began with the annotations of the one before."""

COMPARED_HEADERS = (
    "x-nuclio-project-name",
    "x-nuclio-function-namespace",
    "x-nuclio-invoke-via",
    "x-nuclio-invoke-timeout",
    "x-nuclio-function-name",
    "x-nuclio-path",
    "accept",
    "content-type",
)
SIGNATURE = 43
FUNCTIONS_OF_STATES = {'{"template":[0.5,0.5,0.5,0.5],"n":1}': "trk0"}
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
_STATE = re.compile(r":[0-9A-Za-z]{6}:[\w-]{43}$")


def cases() -> list[Any]:
    found = []
    for path in FILES:
        recorded = json.loads(path.read_text())
        for number, case in enumerate(recorded.get("cases", [recorded])):
            name = f"{path.name.split('-')[0]}-{number}-{case.get('what', recorded['what'])[:60]}"
            found.append(pytest.param(path.name[:3], case, id=name))
    return found


@pytest.fixture(scope="module")
def world(server, admin) -> RecordedWorld:
    case = json.loads((FOLDER / "009-detector-rectangle.json").read_text())
    return RecordedWorld(server, admin, base64.b64decode(case["gateway"][1]["request"]["body"]["image"]))


@pytest.mark.skipif(not FILES, reason=f"no recorded calls in {FOLDER}: set PREFECT_CVAT_WIRE_FUNCTIONS")
def test_recording_is_complete() -> None:
    assert len(FILES) == 81


@pytest.mark.parametrize(("number", "case"), cases())
def test_answers_and_asks_like_cvat(
    number: str, case: dict[str, Any], world: RecordedWorld, gateway: StandInGateway, ended: Any
) -> None:
    if number in ELSEWHERE:
        pytest.skip(ELSEWHERE[number])
    if case.get("what") == LATE:
        pytest.skip(ELSEWHERE["032"])
    if number >= "052" and number not in CONTINUED:
        is_drawn = number in HUMAN_SHAPE or case["what"].startswith(HUMAN_SHAPE)
        world.clear(with_human_shape=is_drawn, deleted_frames=DELETED_FRAMES.get(number, []))
    prepare(gateway, case)
    found: list[str] = []
    states: dict[str, str] = {}
    for exchange in case["api"]:
        if number == "056" and "(afterwards)" in exchange["request"]["path"]:
            continue  # of batches that were refused: what was there before
        found += replay(world, gateway, exchange, ended, states)
    found += compare_asked(gateway, case)
    assert found == []


# --- what the gateway answers ---

COLOR = {"name": "color", "input_type": "select", "values": ["red", "blue"]}
RECORDS = [
    record(
        "det",
        labels=[
            {"name": "car", "type": "any", "attributes": [COLOR]},
            {"name": "sky", "type": "mask"},
            {"name": "day", "type": "tag"},
        ],
    ),
    record("reid", "reid"),
    record("sam", "interactor"),
    record("trk", "tracker", supported_shape_types="rectangle"),
]
"""The functions of cases whose calls were not kept."""


def prepare(gateway: StandInGateway, case: dict[str, Any]) -> None:
    """Let the gateway answer as it did in the recording."""
    gateway.clear()
    gateway.records, gateway.list_answer = {}, None
    calls = []
    for exchange in case["gateway"]:
        path, answer = exchange["request"]["path"], exchange["answer"]
        if path == "/api/functions":
            gateway.list_answer = as_answer(answer)
        elif path.startswith("/api/functions/"):
            if answer["status"] == 200:
                gateway.records[path] = answer["body"]
        else:
            calls.append(as_answer(answer))
    if case.get("gateway_left_out") and not calls:
        gateway.records = {record["metadata"]["name"]: record for record in RECORDS}
        calls = [FOUND]
    gateway.invoke = lambda number, _asked: calls[min(number, len(calls) - 1)]


def as_answer(answer: dict[str, Any]) -> Answer:
    if "closed" in answer:
        return Answer(status=None)
    reason = None
    if answer["status"] == 422:  # the recording has it only in CVAT's answer
        reason = "The model takes pictures of 64x64 and more, this one is 32x24"
    return Answer(
        answer["body"], answer["status"], reason, content_type=answer.get("content-type", "text/plain")
    )


# --- what CVAT answers ---


def replay(
    world: RecordedWorld,
    gateway: StandInGateway,
    exchange: dict[str, Any],
    ended: Any,
    states: dict[str, str],
) -> list[str]:
    request, expected = exchange["request"], exchange["answer"]
    path = request["path"]
    if path.startswith("/api/lambda/requests/") and request["method"] == "GET" and expected["status"] == 200:
        if expected["body"]["status"] in ("queued", "started"):
            return []  # it may have got further here
        response_body = ended({"id": expected_id(world, path)})
        return compare_batch(world, response_body, expected["body"])
    body = with_own_states(request.get("body"), world, gateway, states)
    response = world.send(request["user"], request["method"], path, body)
    if response.status != expected["status"]:
        return [
            f"{request['method']} {path}: {response.status} {response.data!r}, recorded {expected['status']}"
        ]
    found = as_text_or_json(response)
    if "(afterwards)" in path:
        return compare_annotations(world, found, expected)
    if isinstance(found, dict) and found.get("status") == "queued":
        return compare_batch(world, found, expected["body"])
    if isinstance(found, dict) and "states" in found:
        remember_states(expected["body"], found, states)
    return differences(normal(gateway, world.numbers_of_recording(found)), normal(gateway, expected["body"]))


def expected_id(world: RecordedWorld, path: str) -> str:
    return world.path(path).rpartition("/")[2].replace("%3D", "=").replace("%26", "&")


def as_text_or_json(response: Any) -> Any:
    if response.headers.get("content-type") == "application/vnd.cvat+json" and response.data:
        return json.loads(response.data)
    return response.data.decode()


def normal(gateway: StandInGateway, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: normal(gateway, item) for name, item in value.items()}
    if isinstance(value, list):
        return [normal(gateway, item) for item in value]
    if isinstance(value, str):
        value = value.replace(gateway.url.removeprefix("http://"), "GATEWAY:8070")
        return _STATE.sub(":time:signature", _DATE.sub("<date>", value))
    return value


def compare_batch(world: RecordedWorld, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """All but dates, and the text of tracebacks; one of an earlier batch may be there."""
    left_out = {"enqueued", "started", "ended", "exc_info"}
    problems = differences(
        {name: item for name, item in world.numbers_of_recording(found).items() if name not in left_out},
        {name: item for name, item in expected.items() if name not in left_out},
    )
    if found["status"] != "queued" and bool(found["exc_info"]) is not bool(expected["exc_info"]):
        problems.append(f"exc_info: {found['exc_info']!r}, recorded {expected['exc_info']!r}")
    return [*problems, *(f"{name} not there" for name in found.keys() ^ expected.keys())]


def compare_annotations(world: RecordedWorld, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The numbers of annotations, and those that the recording has kept: the first four of each kind."""
    found = world.numbers_of_recording(found)
    problems = []
    for kind, count in expected.get("counts", {}).items():
        if len(found[kind]) != count:
            problems.append(f"{len(found[kind])} {kind}, recorded {count}")
    for kind in ("tags", "shapes"):
        kept = [plain(item) for item in found[kind]]
        problems += [
            f"{kind}: {item} is not there" for item in map(plain, expected["body"][kind]) if item not in kept
        ]
    return problems


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An annotation without ids, its elements in order."""
    kept = {name: value for name, value in item.items() if name != "id"}
    if "elements" in item:
        kept["elements"] = sorted(map(plain, item["elements"]), key=lambda element: element["label_id"])
    return kept


# --- states of trackers ---


def remember_states(recorded: Any, found: dict[str, Any], states: dict[str, str]) -> None:
    states |= dict(zip(recorded["states"], found["states"], strict=True))


def with_own_states(body: Any, world: RecordedWorld, gateway: StandInGateway, states: dict[str, str]) -> Any:
    """States that the sandbox has signed, in place of those that the recorded CVAT has signed."""
    if not isinstance(body, dict) or "states" not in body:
        return body
    return {**body, "states": [states.get(each) or sign_again(each, world) for each in body["states"]]}


def sign_again(recorded: str, world: RecordedWorld) -> str:
    """The state of an earlier recording, signed by the sandbox; one with a wrong signature stays wrong."""
    text, _, signature = recorded.rpartition(":")
    state = text.rpartition(":")[0]
    if len(signature) != SIGNATURE:
        return recorded
    return sign(json.loads(state), FUNCTIONS_OF_STATES.get(state, "trk"), world.secret)


# --- what the gateway was asked ---


def compare_asked(gateway: StandInGateway, case: dict[str, Any]) -> list[str]:
    expected = case["gateway"]
    problems = []
    if not case.get("gateway_left_out") and len(gateway.asked) != len(expected):
        problems.append(f"{len(gateway.asked)} requests to the gateway, recorded {len(expected)}")
    for asked, exchange in zip(gateway.asked, expected, strict=False):
        request = exchange["request"]
        if (asked.method, asked.path) != (request["method"], request["path"]):
            problems.append(
                f"asked {asked.method} {asked.path}, recorded {request['method']} {request['path']}"
            )
            continue
        problems += compare_headers(asked, request["headers"])
        problems += differences(without_images(asked.body), without_images(request["body"]), "asked")
    return problems


def compare_headers(asked: Asked, recorded: dict[str, str]) -> list[str]:
    ours = {name.lower(): value for name, value in asked.headers.items()}
    theirs = {name.lower(): value for name, value in recorded.items()}
    return [
        f"header {name}: {ours.get(name)!r}, recorded {theirs.get(name)!r}"
        for name in COMPARED_HEADERS
        if ours.get(name) != theirs.get(name)
    ]


def without_images(body: Any) -> Any:
    """A body with format and size of images, and without what differs between equal tasks."""
    if not isinstance(body, dict):
        return body
    return {name: shown(name, value) for name, value in body.items()}


def shown(name: str, value: Any) -> Any:
    if name.startswith("image"):
        described = re.match(r"<base64 of (\w+) (\d+)x(\d+)", value)
        return (described[1], int(described[2]), int(described[3])) if described else size_and_format(value)
    return value
