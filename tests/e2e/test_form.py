"""A run that is started from the form in Prefect's own pages, in a browser."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import chromium, needs_chromium
from prefect_cvat.auto_annotation.loading import function_names
from prefect_cvat.cli.demo_run import create_demo_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.execution_options import ExecutionOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions

pytestmark = [
    needs_chromium,
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


@pytest.fixture
def page() -> Iterator[Any]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.set_default_timeout(60_000)
        yield page


@pytest.fixture
def save_screenshot(page, tmp_path):
    """Save a screenshot; set PREFECT_CVAT_SCREENSHOTS to a folder to keep it."""
    folder = Path(os.environ.get("PREFECT_CVAT_SCREENSHOTS") or tmp_path)

    def save(name: str) -> None:
        path = folder / f"ui-{name}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000, "the page is empty"

    return save


@pytest.fixture
def open_form(prefect_api, page):
    """Open the form of a deployment."""

    def open_form(deployment: str) -> None:
        page.goto(f"{prefect_api.ui_url}/deployments")
        page.get_by_role("link", name=deployment, exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("Custom run").first.click()
        page.get_by_text("The block that says how to log in to CVAT.").wait_for()

    return open_form


def submit(page) -> None:
    page.get_by_role("button", name="Submit").click()


def view_run(page) -> None:
    page.get_by_role("button", name="View run").first.click(force=True)  # several notices may overlap


def test_form_describes_fields_and_starts_a_run(prefect_api, serve, client, page, save_screenshot, open_form):
    task_id = create_demo_task(client)
    served = serve()

    page.goto(f"{prefect_api.ui_url}/deployments")
    page.get_by_role("link", name="annotate-task", exact=True).wait_for()
    save_screenshot("deployments")
    open_form("annotate-task")
    for explanation in (
        "The number of the task in CVAT.",
        LabelOptions.model_fields["conf_threshold"].description,
        FrameOptions.model_fields["frames"].description,
        ExecutionOptions.model_fields["downloads"].description,
    ):
        assert page.get_by_text(explanation).count() == 1
    titles = page.locator(".schema-form-property__label").all_inner_texts()
    assert titles[:4] == ["Task", "Credentials", "Function (Optional)", "Function parameters (Optional)"]
    assert not [title for title in titles if "_" in title or not title[0].isupper()]
    assert page.locator("img").count() == 0, "a logo would come from the internet"

    page.locator("input[type=number]").first.fill(str(task_id))
    save_screenshot("form")
    page.locator(".p-select-button__control", has_text="nanodet_detection").focus()
    page.keyboard.press("ArrowDown")
    functions = page.locator(".p-select-option")
    functions.first.wait_for()
    assert functions.all_inner_texts() == [
        name for name in function_names() if not name.endswith(("_tracking", "_interaction"))
    ]
    functions.filter(has_text="nanodet_detection").click()
    submit(page)
    view_run(page)
    name = f"annotate task {task_id} with nanodet_detection"
    page.get_by_text(name).first.wait_for()
    page.get_by_text("Completed", exact=True).first.wait_for(timeout=180_000)
    page.reload()  # the graph shows the whole run then
    page.get_by_text(re.compile("written: .* added")).wait_for()
    page.wait_for_timeout(3000)  # it is drawn last
    save_screenshot("run")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text(f"report-task-{task_id}").first.wait_for()
    save_screenshot("artifacts")

    shapes = client.task_annotations(task_id).shapes
    assert len({shape["frame"] for shape in shapes}) >= 4
    assert served.returncode is None


def test_form_and_run_name_a_mistake(serve, client, page, open_form):
    task_id = create_demo_task(client)
    serve()
    open_form("annotate-task")
    number = page.locator("input[type=number]").first
    submit(page)
    page.get_by_text("'task_id' is a required property").wait_for()
    number.fill("0")
    submit(page)
    page.get_by_text("0 is less than the minimum of 1").first.wait_for()

    number.fill(str(task_id))
    page.get_by_role("button", name="Module", exact=True).click()
    page.locator("textarea").first.fill("nanodet")
    submit(page)
    view_run(page)
    page.get_by_text("Failed", exact=True).first.wait_for(timeout=120_000)
    page.get_by_text(
        re.compile("there is no function 'nanodet'; there are .*nanodet_detection")
    ).first.wait_for()
    assert client.task_annotations(task_id).shapes == []


def test_pages_of_blocks_show_an_icon_and_fetch_nothing_from_the_internet(prefect_api, credentials, page):
    CvatFunction.register_type_and_schema(_sync=True)
    fetched = []
    page.on("request", lambda request: fetched.append(request.url))
    for path in (
        "catalog/cvat-credentials",
        "catalog/cvat-function",
        f"block/{credentials._block_document_id}",
    ):
        page.goto(f"{prefect_api.ui_url}/blocks/{path}")
        icon = page.locator(".p-card-header svg")  # Prefect's own, of blocks without a logo
        icon.wait_for()
        assert icon.bounding_box()["width"] >= 40
        assert page.locator("img").count() == 0
    assert fetched
    assert [
        url for url in fetched if not url.removeprefix("blob:").startswith((prefect_api.ui_url, "data:"))
    ] == []
