"""The viewer of the page to review frames, in a real browser: zoom, keys, focus, and large pages."""

import time

import numpy as np
import PIL.Image
import pytest

from browser import needs_chromium
from polling import until
from prefect_cvat.frames import Frame
from prefect_cvat.rendering.review_page.content import PageFrame, PageImage
from prefect_cvat.rendering.review_page.page_images import PageImages
from rendering.conftest import box, jpeg, page_frame, page_run, written

pytestmark = needs_chromium


@pytest.fixture
def viewer(show):
    """A page of three frames, of which the first is open in the viewer."""
    run = page_run(
        page_frame(3, box(100, 100), box(600, 300, label="car", score=0.9), corrections=1.5, reasons=["why"]),
        page_frame(5, box(20, 20)),
        page_frame(8),
    )
    page = show(run)
    page.locator(".picture").first.click()
    return page


def title(page):
    return page.locator("#viewer-title small").inner_text()


def scale(page):
    transform = "getComputedStyle(document.querySelector('#stage img')).transform"
    until(lambda: page.evaluate(transform) != "none")  # set with the next frame of the screen
    return float(page.evaluate(transform).removeprefix("matrix(").split(",")[0])


def drawn_pixels(page, where="#stage canvas"):
    """The number of pixels of a canvas that are drawn on."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(
        """(where) => { const canvas = document.querySelector(where);
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0; return count; }""",
        where,
    )


def test_keys_walk_through_the_frames(viewer):
    assert title(viewer).startswith("1 of 3 · frame 3, 2 shapes, 1.5 corrections expected")
    viewer.keyboard.press("ArrowRight")
    assert title(viewer).startswith("2 of 3 · frame 5")
    viewer.keyboard.press("n")
    assert title(viewer).startswith("3 of 3 · frame 8")
    assert viewer.locator("#next").is_disabled()
    viewer.keyboard.press("ArrowRight")
    assert title(viewer).startswith("3 of 3")
    viewer.keyboard.press("ArrowLeft")
    viewer.keyboard.press("p")
    assert title(viewer).startswith("1 of 3")


def test_viewer_walks_only_through_frames_that_match(show):
    run = page_run(
        page_frame(1, box(9, 9, label="car")), page_frame(2, box(9, 9)), page_frame(3, box(9, 9, label="car"))
    )
    page = show(run)
    page.locator(".chip", has_text="car").click()
    page.locator(".frame:not([hidden]) .picture").first.click()
    assert title(page).startswith("1 of 2 · frame 1")
    page.keyboard.press("ArrowRight")
    assert title(page).startswith("2 of 2 · frame 3")


def test_h_hides_the_labels_and_not_the_shapes(viewer):
    with_labels = drawn_pixels(viewer)
    viewer.keyboard.press("h")
    without = drawn_pixels(viewer)
    assert 0 < without < with_labels
    assert viewer.locator("#labels").get_attribute("aria-pressed") == "false"
    viewer.locator("#labels").click()
    assert drawn_pixels(viewer) == with_labels


def test_x_ticks_the_frame_off(viewer):
    viewer.keyboard.press("x")
    assert viewer.locator("#viewer-looked").is_checked()
    viewer.keyboard.press("ArrowRight")
    assert not viewer.locator("#viewer-looked").is_checked()
    viewer.keyboard.press("Escape")
    assert viewer.locator("#looked-count").inner_text() == "1 of 3 looked at"


def test_o_opens_the_frame_in_cvat(viewer):
    viewer.context.route("http://cvat.example.com/**", lambda route: route.fulfill(body="CVAT"))
    with viewer.context.expect_page() as opened:
        viewer.keyboard.press("o")
    assert opened.value.url == "http://cvat.example.com/tasks/1/jobs/1?frame=3"


def test_escape_closes_and_focus_returns_to_the_frame(viewer):
    viewer.keyboard.press("ArrowRight")
    viewer.keyboard.press("Escape")
    assert not viewer.locator("dialog").is_visible()
    until(lambda: viewer.evaluate("document.activeElement.ariaLabel ?? ''").startswith("Enlarge frame 5"))
    viewer.keyboard.press("Enter")
    assert title(viewer).startswith("2 of 3")


def test_focus_stays_in_the_viewer(viewer):
    for _ in range(25):
        viewer.keyboard.press("Tab")
        assert viewer.evaluate(
            "['BODY', 'HTML'].includes(document.activeElement.tagName) || "
            "document.getElementById('viewer').contains(document.activeElement)"
        )


def test_wheel_zooms_at_the_pointer_and_zero_fits_again(viewer):
    fitted = scale(viewer)
    stage = viewer.locator("#stage").bounding_box()
    x, y = stage["x"] + 200, stage["y"] + 150
    at = """([x, y]) => { const box = document.querySelector('#stage img').getBoundingClientRect();
        return [(x - box.left) / box.width, (y - box.top) / box.height]; }"""
    before = viewer.evaluate(at, [x, y])
    viewer.mouse.move(x, y)
    viewer.mouse.wheel(0, -300)
    until(lambda: scale(viewer) > 1.3 * fitted)
    assert viewer.evaluate(at, [x, y]) == pytest.approx(before, abs=0.01)
    viewer.keyboard.press("0")
    until(lambda: scale(viewer) == pytest.approx(fitted))
    viewer.keyboard.press("+")
    until(lambda: scale(viewer) > fitted)


def test_drag_pans(viewer):
    left = "document.querySelector('#stage img').getBoundingClientRect().left"
    before = viewer.evaluate(left)
    stage = viewer.locator("#stage").bounding_box()
    viewer.mouse.move(stage["x"] + 300, stage["y"] + 300)
    viewer.mouse.down()
    viewer.mouse.move(stage["x"] + 380, stage["y"] + 300, steps=4)
    viewer.mouse.up()
    until(lambda: viewer.evaluate(left) == pytest.approx(before + 80, abs=2))


def test_two_fingers_zoom_on_a_phone(show):
    page = show(page_run(page_frame(3, box(100, 100))), width=390, height=800, has_touch=True, is_mobile=True)
    page.locator(".picture").first.tap()
    fitted = scale(page)
    stage = page.locator("#stage").bounding_box()
    session = page.context.new_cdp_session(page)

    def touch(kind, *distances):
        points = [
            {"x": stage["x"] + 190 + d, "y": stage["y"] + 120, "id": i} for i, d in enumerate(distances)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30, 30)
    for spread in (40, 60, 90):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    until(lambda: scale(page) > 2 * fitted)


def test_click_selects_a_shape_and_its_row_zooms_to_it(viewer):
    rows = viewer.locator("#side li button")
    assert rows.all_inner_texts() == ["person 0.50", "car 0.90"]
    image = viewer.locator("#stage img").bounding_box()
    viewer.mouse.click(image["x"] + image["width"] * 650 / 960, image["y"] + image["height"] * 340 / 540)
    assert rows.nth(1).get_attribute("aria-pressed") == "true"
    fitted = scale(viewer)
    rows.nth(0).click()
    until(lambda: scale(viewer) > 1.5 * fitted)
    assert rows.nth(0).get_attribute("aria-pressed") == "true"


def test_outlines_are_where_the_shapes_are(show):
    diamond = box(400, 200, 100, 100, path="M450 200 500 250 450 300 400 250Z")
    page = show(page_run(page_frame(0, diamond)))
    page.locator(".picture").click()
    page.keyboard.press("h")
    drawn_pixels(page)
    found = page.evaluate(
        """() => { const canvas = document.querySelector('#stage canvas');
        const image = document.querySelector('#stage img').getBoundingClientRect();
        const stage = canvas.getBoundingClientRect();
        const at = (x, y) => canvas.getContext('2d').getImageData(
            image.left - stage.left + x * image.width / 960, image.top - stage.top + y * image.height / 540, 1, 1).data[3];
        return [at(450, 200), at(475, 225), at(402, 202), at(450, 250), at(10, 10)]; }"""
    )
    corner, edge, outside, inside, elsewhere = found
    assert corner > 200
    assert edge > 200
    assert 0 < inside < 100
    assert (outside, elsewhere) == (0, 0)


def test_page_of_a_hundred_thousand_shapes_on_a_frame(show):
    rng = np.random.default_rng(0)
    places = rng.uniform([0, 0], [940, 520], (100_000, 2)).round(1).tolist()
    shapes = [box(x, y, 12, 9, score=0.5, label=f"label {i % 5}") for i, (x, y) in enumerate(places)]
    page = show(page_run(page_frame(0, *shapes), page_frame(1, box(9, 9))))
    assert page.locator("#count").inner_text() == "2 frames, 100,001 shapes"
    started = time.monotonic()
    page.locator(".picture").first.click()
    assert drawn_pixels(page) > 100_000
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert title(page).startswith("2 of 2")
    page.keyboard.press("Escape")
    page.locator(".chip", has_text="label 3").click()
    assert page.locator("#count").inner_text() == "1 of 2 frames, 20,000 of 100,001 shapes"
    assert time.monotonic() - started < 20


def test_page_of_two_thousand_frames_with_images_in_a_folder(show, tmp_path):
    (tmp_path / "page_images").mkdir()
    (tmp_path / "page_images" / "000000.jpg").write_bytes(jpeg(1920, 1080))
    small = jpeg(160, 90)
    frames = [
        PageFrame(
            Frame(number, f"{number:04}.jpg", 1920, 1080),
            PageImage(small, f"page_images/{number:06}.jpg"),
            [box(100, 100)],
            1,
            doubts=["low score"] if number % 10 == 0 else [],
        )
        for number in range(2000)
    ]
    page = show(page=written(tmp_path / "page.html", page_run(*frames)))
    page.locator(".picture").first.click()
    until(lambda: page.evaluate("document.querySelector('#stage img').naturalWidth") == 1920)
    page.keyboard.press("Escape")
    page.locator(".chip", has_text="low score").click()
    assert page.locator("#count").inner_text() == "200 of 2,000 frames, 200 of 2,000 shapes"
    page.get_by_label("Sort by").select_option("frame number")
    assert page.locator(".frame:not([hidden])").count() == 200


def test_images_in_a_folder_whose_name_is_no_address(show, browser, tmp_path):
    file = tmp_path / "review #2 100%.html"
    frame = Frame(0, "0.jpg", 640, 360)
    making = PageImages(300, file)
    image = making.make_one(frame, PIL.Image.new("RGB", (640, 360)))
    written(file, page_run(PageFrame(frame, PageImage(jpeg(160, 90), image.file), [box(9, 9)], 1)))
    page = show(page=file)
    page.locator(".picture").click()
    until(lambda: page.evaluate("document.querySelector('#stage img').naturalWidth") == 640)

    file.with_name("review #2 100%_images").rename(tmp_path / "elsewhere")
    page = browser.new_page()
    page.goto(file.as_uri())
    page.locator(".picture").click()
    page.get_by_text("Shown small: the folder review #2 100%_images is not beside this page.").wait_for()
    page.close()


def test_large_image_that_is_not_there_is_shown_small(browser, tmp_path):
    frame = page_frame(0, box(9, 9), image=PageImage(jpeg(160, 90), "page_images/000000.jpg"))
    page = browser.new_page()
    page.goto(written(tmp_path / "page.html", page_run(frame)).as_uri())
    page.locator(".picture").click()
    page.get_by_text("Shown small: the folder page_images is not beside this page.").wait_for()
    assert page.evaluate("document.querySelector('#stage img').naturalWidth") == 160
    page.close()


def test_cards_draw_their_shapes_when_they_come_into_view(show):
    page = show(page_run(*(page_frame(number, box(100, 100)) for number in range(60))))
    page.wait_for_selector(".frame:first-child canvas", state="attached")
    until(lambda: drawn_pixels(page, ".frame:first-child canvas") > 0)
    assert page.locator(".frame canvas").count() < 60
    page.locator(".frame").last.scroll_into_view_if_needed()
    page.wait_for_selector(".frame:last-child canvas", state="attached")
    until(lambda: drawn_pixels(page, ".frame:last-child canvas") > 0)
