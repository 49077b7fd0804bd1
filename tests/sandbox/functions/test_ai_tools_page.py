"""The AI tools on the page of a frame, in a browser."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from browser import needs_chromium
from pictures import png
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.masks import decode_mask, encode_mask
from sandbox.functions.stand_in_gateway import Answer, Asked, StandInGateway, record

pytestmark = [
    needs_chromium,
    pytest.mark.filterwarnings("default"),
]
SIZE = (512, 512)
SAM = record(
    "sam", "interactor", name="Segment it", version="2", min_pos_points="1", min_neg_points="0",
    startswith_box_optional="true",
)  # fmt: skip
DETECTOR = record("det", labels=[{"name": "face", "type": "rectangle"}], name="Faces")


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
    page.set_default_timeout(15_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert problems == []


def box_of(asked: Asked) -> tuple[int, int, int, int]:
    """A box around the prompts."""
    if asked.body["obj_bbox"]:
        (left, top), (right, bottom) = asked.body["obj_bbox"]
    else:
        [(x, y), *_] = asked.body["pos_points"]
        left, top, right, bottom = x - 40, y - 40, x + 40, y + 40
    return round(left), round(top), round(right), round(bottom)


def invoke(number: int, asked: Asked) -> Answer:
    """An interactor that answers a box of pixels, less what is around negative points; and a detector."""
    if asked.function == "det":
        return Answer([{"label": "face", "type": "rectangle", "points": [170, 60, 290, 220]}])
    bitmap = Image.new("L", SIZE)
    bitmap.paste(1, box_of(asked))
    for x, y in asked.body["neg_points"]:
        bitmap.paste(0, (round(x) - 10, round(y) - 10, round(x) + 10, round(y) + 10))
    points = encode_mask(np.array(bitmap, dtype=bool))
    confidence = [{"spec_id": 0, "value": "0.87"}]
    return Answer({"shapes": [{"type": "mask", "points": points, "attributes": confidence}]})


@pytest.fixture
def job(admin: Client, gateway: StandInGateway) -> Any:
    """A job with a photograph of a person."""
    gateway.clear()
    gateway.records = {"sam": SAM, "det": DETECTOR}
    gateway.invoke = invoke
    task = admin.create_task(
        "astronaut", [label_spec("person", None, color="#33aaff"), label_spec("face", None)]
    )
    admin.upload_images(task.id, {"astronaut.png": png(skimage.data.astronaut())})
    return admin.jobs(task.id)[0]


@pytest.fixture
def tools(page: Any, server: Any, job: Any) -> Any:
    """The panel on the page, when the functions are there."""
    page.goto(f"{server.url}/tasks/{job.task_id}/jobs/{job.id}")
    tools = page.locator("#ai-tools")
    tools.get_by_text("Segment it").wait_for(state="attached")
    return tools


@pytest.fixture
def at(page: Any) -> Any:
    """Where a pixel of the image is on the screen."""

    def at(x: float, y: float) -> dict[str, float]:
        box = page.locator("#frame svg image").bounding_box()
        return {"x": box["x"] + x * box["width"] / SIZE[0], "y": box["y"] + y * box["height"] / SIZE[1]}

    return at


def drag(page: Any, start: dict[str, float], end: dict[str, float]) -> None:
    page.mouse.move(**start)
    page.mouse.down()
    page.mouse.move(**end, steps=5)
    page.mouse.up()


def test_click_shows_a_mask_that_is_accepted_once(admin, gateway, job, tools, page, at):
    page.mouse.click(**at(230, 120))
    tools.get_by_text(re.compile(r"^A mask, confidence 0\.87")).wait_for()
    assert page.locator("#frame svg g path").count() == 1
    assert page.locator("#frame svg circle").count() == 1
    [asked] = gateway.calls
    assert asked.body["pos_points"] == [[pytest.approx(230, abs=2), pytest.approx(120, abs=2)]]
    assert (asked.body["neg_points"], asked.body["obj_bbox"]) == ([], [])
    save_picture(page)

    tools.get_by_label("label").select_option("person")
    with page.expect_navigation():
        tools.get_by_role("button", name="Accept").dblclick()
    [shape] = admin.job_annotations(job.id).shapes
    [person, _] = admin.labels(job.task_id)
    assert (shape["type"], shape["source"], shape["label_id"]) == ("mask", "semi-auto", person.id)
    found = decode_mask(shape["points"], image_width=512, image_height=512)
    assert found[120, 230]
    assert found.sum() == pytest.approx(81 * 81, rel=0.05)
    # the page shows it
    assert page.locator("#frame svg > g path").count() == 1


def test_negative_points_are_added_with_shift(gateway, tools, page, at):
    page.mouse.click(**at(230, 120))
    tools.get_by_text(re.compile("^A mask")).wait_for()
    page.keyboard.down("Shift")
    page.mouse.click(**at(240, 130))
    page.keyboard.up("Shift")
    page.wait_for_function("document.querySelectorAll('#frame svg circle').length === 2")
    tools.get_by_text(re.compile("^A mask")).wait_for()
    assert gateway.calls[-1].body["neg_points"] == [[pytest.approx(240, abs=2), pytest.approx(130, abs=2)]]
    assert len(gateway.calls[-1].body["pos_points"]) == 1


def test_box_is_dragged_in_any_direction(gateway, tools, page, at):
    drag(page, at(300, 250), at(160, 30))
    tools.get_by_text(re.compile("^A mask")).wait_for()
    [[left, top], [right, bottom]] = gateway.calls[-1].body["obj_bbox"]
    assert [left, top, right, bottom] == pytest.approx([160, 30, 300, 250], abs=2)
    assert gateway.calls[-1].body["pos_points"] == []


def test_discard_forgets_prompts_and_stores_nothing(admin, job, tools, page, at):
    drag(page, at(160, 30), at(300, 250))
    tools.get_by_text(re.compile("^A mask")).wait_for()
    tools.get_by_role("button", name="Discard").click()
    assert page.locator("#frame svg rect, #frame svg path").count() == 0
    assert tools.get_by_role("button", name="Accept").is_disabled()
    assert admin.job_annotations(job.id).shapes == []


def test_detections_of_the_frame_are_accepted_as_automatic(admin, job, tools, page):
    tools.get_by_label("function").select_option("det")
    tools.get_by_role("button", name="Detect on this frame").click()
    tools.get_by_text(re.compile("^1 found")).wait_for()
    with page.expect_navigation():
        tools.get_by_role("button", name="Accept").click()
    [shape] = admin.job_annotations(job.id).shapes
    assert (shape["type"], shape["source"], shape["points"]) == ("rectangle", "auto", [170, 60, 290, 220])


def test_reason_of_a_gateway_is_shown(gateway, tools, page, at):
    gateway.invoke = lambda number, asked: Answer({}, 422, "The image is too small")
    page.mouse.click(**at(230, 120))
    tools.get_by_text(re.compile("^422 Client Error: The image is too small for url")).wait_for()


def test_other_login_is_asked_for(page, server, job):
    page.add_init_script("sessionStorage.setItem('login', btoa('admin:wrong'))")
    page.goto(f"{server.url}/tasks/{job.task_id}/jobs/{job.id}")
    tools = page.locator("#ai-tools")
    tools.get_by_label("user").fill(server.user)
    tools.get_by_label("password").fill(server.password)
    tools.get_by_role("button", name="Log in").click()
    tools.get_by_text("Segment it").wait_for(state="attached")
    assert not tools.get_by_label("password").is_visible()


def test_without_a_gateway_the_page_says_how_to_name_one(page, sandbox):
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        task = client.create_task("a task", [label_spec("face", None)])
        client.upload_images(task.id, {"astronaut.png": png(skimage.data.astronaut())})
        [job] = client.jobs(task.id)
    page.goto(f"{sandbox.url}/tasks/{task.id}/jobs/{job.id}")
    assert page.get_by_text("--nuclio-host 127.0.0.1").count() == 1
    assert page.locator("script").count() == 0


def save_picture(page: Any) -> None:
    """Save the page; set PREFECT_CVAT_SCREENSHOTS to a folder to keep it."""
    if folder := os.environ.get("PREFECT_CVAT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "ai-tools-test.png")
