"""The page to review frames, in a real browser: filters, sorting, ticks, and how it looks on small and large screens."""

import re

import pytest

from browser import needs_chromium
from prefect_cvat.rendering.review_page.content import PageSection
from prefect_cvat.rendering.review_page.writer import render_review_page
from rendering.conftest import box, page_frame, page_run

pytestmark = needs_chromium


@pytest.fixture
def street():
    """Three frames: persons and a car, with scores, two of them with doubts."""
    return page_run(
        page_frame(
            7,
            box(10, 10, score=0.3),
            box(300, 200, label="car", score=0.9),
            corrections=2.5,
            doubts=["low score", "overlap"],
            reasons=["1 of 2 shapes below 0.5"],
        ),
        page_frame(2, box(20, 20, score=0.45), corrections=1.0, doubts=["low score"]),
        page_frame(4, box(100, 100, label="car", score=0.8), tags=["night"]),
    )


def shown(page):
    """The numbers of the frames that are shown, in their order."""
    texts = page.locator(".frame:not([hidden]) .soft").all_text_contents()
    return [int(re.match(r"frame (\d+)", text)[1]) for text in texts]


def chip(page, name):
    return page.locator(".chip", has_text=re.compile(rf"^{name}"))


def test_frames_are_in_the_order_of_review_with_links_to_cvat(show, street):
    page = show(street)
    assert shown(page) == [7, 2, 4]
    assert page.locator("#count").inner_text() == "3 frames, 4 shapes"
    links = page.locator(".frame a").evaluate_all("links => links.map((link) => link.href)")
    assert links[0] == "http://cvat.example.com/tasks/1/jobs/1?frame=7"
    first = page.locator(".frame").first.text_content()
    assert "2.5 corrections expected" in first
    assert "1 of 2 shapes below 0.5" in first


@pytest.mark.parametrize(
    ("names", "frames", "counts"),
    [
        (["car"], [7, 4], "2 of 3 frames, 2 of 4 shapes"),
        (["person"], [7, 2], "2 of 3 frames, 2 of 4 shapes"),
        (["person", "car"], [7, 2, 4], "3 frames, 4 shapes"),
        (["low score"], [7, 2], "2 of 3 frames, 3 of 4 shapes"),
        (["overlap", "person"], [7], "1 of 3 frames, 1 of 4 shapes"),
        (["night"], [4], "1 of 3 frames, 0 of 4 shapes"),
    ],
    ids=lambda value: " and ".join(value) if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_filters_by_label_and_doubt(show, street, names, frames, counts):
    page = show(street)
    for name in names:
        chip(page, name).click()
    assert shown(page) == frames
    assert page.locator("#count").inner_text() == counts
    page.get_by_role("button", name="Reset").click()
    assert shown(page) == [7, 2, 4]


def test_filters_by_score_and_counts_follow(show, street):
    page = show(street)
    assert chip(page, "car").inner_text().split() == ["car", "2"]
    page.get_by_role("slider", name="Lowest score").fill("0.85")
    assert shown(page) == [7]
    assert chip(page, "car").inner_text().split() == ["car", "1"]
    assert chip(page, "person").inner_text().split() == ["person", "0"]
    page.get_by_role("slider", name="Lowest score").fill("0")
    page.get_by_role("slider", name="Highest score").fill("0.4")
    assert shown(page) == [7]
    page.get_by_role("slider", name="Highest score").fill("0.1")
    assert shown(page) == []
    assert page.get_by_text("No frame matches.").is_visible()


@pytest.mark.parametrize(
    ("order", "frames"),
    [
        ("frame number", [2, 4, 7]),
        ("lowest score", [7, 2, 4]),
        ("number of shapes", [7, 2, 4]),
        ("what to review first", [7, 2, 4]),
    ],
)
def test_sorts(show, street, order, frames):
    page = show(street)
    page.get_by_label("Sort by").select_option("frame number")
    page.get_by_label("Sort by").select_option(order)
    assert shown(page) == frames


def test_missed_and_false_shapes_of_an_evaluation(show):
    run = page_run(
        page_frame(0, box(9, 9, kind="missed", score=None), box(300, 9, kind="found"), reasons=["1 missed"]),
        page_frame(1, box(9, 9, kind="false alarm", score=0.6)),
        page_frame(2, box(9, 9, kind="found"), box(9, 9, kind="truth", score=None)),
        is_evaluation=True,
    )
    page = show(run)
    assert page.locator("#filter-kind .chip:not([hidden])").count() == 4
    chip(page, "missed").click()
    assert shown(page) == [0]
    chip(page, "false alarm").click()
    assert shown(page) == [0, 1]
    chip(page, "missed").click()
    assert shown(page) == [1]


def test_card_counts_all_mistakes_of_its_frame(show):
    drawn = box(9, 9, kind="missed", score=None)
    page = show(page_run(page_frame(0, drawn, count=3000, mistakes=3000), is_evaluation=True))
    assert page.locator(".frame .expected").text_content() == "3000 mistakes"


def test_what_was_looked_at_is_kept_for_the_server_task_and_run(show, street, browser, tmp_path):
    page = show(street)
    page.locator(".actions input").first.check()
    assert page.locator("#looked-count").inner_text() == "1 of 3 looked at"
    page.get_by_label("Hide what has been looked at").check()
    assert shown(page) == [2, 4]
    page.reload()
    assert shown(page) == [7, 2, 4]
    assert page.locator(".actions input").first.is_checked()
    text = (tmp_path / "page.html").read_text()
    (tmp_path / "page.html").write_text(text.replace("run-1", "run-2"))
    page.reload()
    assert page.locator("#looked-count").inner_text() == "0 of 3 looked at"


def test_page_works_where_the_browser_keeps_nothing(show, street):
    page = show(street)
    page.evaluate("localStorage.setItem('prefect-cvat http://cvat.example.com/tasks/1 run-1', 'not JSON')")
    page.reload()
    page.locator(".actions input").first.check()
    assert page.locator("#looked-count").inner_text() == "1 of 3 looked at"


def test_two_runs_are_filters_of_one_page(show, street):
    other = page_run(page_frame(7, box(1, 1, label="bus")), key="other")
    page = show(street, other)
    page.locator("#filter-run .chip").nth(1).click()
    assert page.locator("#count").inner_text() == "1 of 4 frames, 1 of 5 shapes"
    page.locator(".frame:not([hidden])").locator(".actions input").check()
    assert page.locator("#looked-count").inner_text() == "1 of 4 looked at"


def test_without_javascript_frames_outlines_and_reasons_can_be_read(show, street):
    page = show(street, scripts=False)
    assert shown(page) == [7, 2, 4]
    assert page.locator(".frame").first.locator("svg path").count() == 2  # a person and a car
    assert page.locator(".frame").first.locator("svg").bounding_box()["width"] > 200
    assert not page.locator("#filters").is_visible()
    assert not page.locator("dialog").is_visible()


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 3840])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_on_a_phone_or_a_large_screen(show, width, scheme):
    long = "a-long-name-without-any-place-to-break-it-" * 6
    table = "<table><tr>" + "<td>0.123</td>" * 40 + "</tr></table>"
    run = page_run(
        page_frame(
            1, box(10, 10, label=long), name=f"{long}.jpg", reasons=[long], tags=[long], corrections=1
        ),
        *(page_frame(number, box(10, 10)) for number in range(2, 6)),
        url="http://cvat.example.com/tasks/1",
        subtitle=long,
        figures=[("frames per second", "1,234,567.8")] * 6,
        notes=[long],
        sections=[PageSection("By label", f'<div class="table">{table}</div>', is_open=True)],
    )
    page = show(run, width=width, height=800, color_scheme=scheme)
    page.locator("#toggle-filters").click() if width < 760 else None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".picture").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.locator("dialog .head > *").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect()).map((box) => [box.left, box.right])"
    )
    assert all(left >= 0 and right <= width for left, right in boxes)


def test_dark_mode_has_a_dark_background(show, street):
    def background(scheme):
        page = show(street, color_scheme=scheme)
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)[:3]))

    assert background("dark") < 100 < 600 < background("light")


def test_hostile_names_are_shown_as_text(show):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&${x}\x00\ud800\u202e"
    run = page_run(
        page_frame(
            0,
            box(9, 9, label=hostile, note=hostile),
            name=hostile,
            tags=[hostile],
            reasons=[hostile],
            doubts=[hostile],
            url='javascript:alert(3)"',
        ),
        key=hostile,
        heading=hostile,
        subtitle=hostile,
        figures=[(hostile, hostile)],
        notes=[hostile],
        sections=[PageSection(hostile, "")],
    )
    page = show(run, run)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.locator("script").count() == 2
    assert page.locator("img[src='x']").count() == 0
    chip(page, "</script>").first.click()
    page.locator(".picture").first.click()
    assert "<img src=x" in page.locator("#side").inner_text()
    assert page.locator("a[href^='javascript:']").count() == 0


def test_page_forbids_to_fetch_anything(street):
    text = render_review_page([street], title="Review")
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text
    assert "unsafe" not in text
    assert not re.search(r'(?:src|href)="(?!data:|http://cvat)', text)


def test_empty_run_says_so(show):
    page = show(page_run())
    assert page.get_by_text("There are no frames to show.").is_visible()
    assert page.locator("#count").inner_text() == "0 frames, 0 shapes"


def test_screen_readers_get_names_and_changes(show, street):
    page = show(street)
    assert page.get_by_role("button", name="Enlarge frame 7, 0007.jpg: 2 shapes").is_visible()
    assert page.get_by_role("article", name="0007.jpg").is_visible()
    assert page.locator("#count").get_attribute("role") == "status"
    unnamed = page.locator("button, select, input, a").evaluate_all(
        "all => all.filter((each) => !(each.innerText || each.ariaLabel || each.labels?.length)).map((each) => each.id)"
    )
    assert [each for each in unnamed if each] == []
