"""Pages to review frames, made of data, and shown in a browser."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from prefect_cvat.frames import Frame
from prefect_cvat.rendering.review_page.content import PageFrame, PageImage, PageRun, PageShape
from prefect_cvat.rendering.review_page.writer import render_review_page


@pytest.fixture
def show(browser, tmp_path) -> Iterator[Callable[..., Any]]:
    """Write a page to disk and open it, as a reader does; fail if the browser reports an error or a request."""
    contexts, problems = [], []

    def open_page(*runs: PageRun, width=1280, height=900, scripts=True, page=None, **options) -> Any:
        file = page or tmp_path / "page.html"
        if page is None:
            file.write_text(render_review_page(runs, title="Review"), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts, **options
        )
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: message.type == "error" and problems.append(message.text))
        opened.on("pageerror", lambda error: problems.append(str(error)))
        folder = file.parent.as_uri()
        opened.on(
            "request",
            lambda request: request.url.startswith(("data:", folder)) or problems.append(request.url),
        )
        opened.goto(file.as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def jpeg(width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """A picture of some colors, without details."""
    small = np.random.default_rng(seed).integers(40, 215, (4, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(small).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def box(left, top, width=100, height=80, **fields) -> PageShape:
    fields = {"label": "person", "kind": "machine", "style": "area", "score": 0.5} | fields
    return PageShape(box=(left, top, left + width, top + height), **fields)


def page_frame(number, *shapes, name=None, image=None, **fields) -> PageFrame:
    fields = {"count": len(shapes), "url": f"http://cvat.example.com/tasks/1/jobs/1?frame={number}"} | fields
    frame = Frame(number, name or f"{number:04}.jpg", 960, 540)
    return PageFrame(frame, image or PageImage(jpeg(seed=number)), shapes, **fields)


def page_run(*frames, key="prefect-cvat http://cvat.example.com/tasks/1 run-1", **fields) -> PageRun:
    return PageRun(**{"heading": "Task 1, street", "key": key, "frames": frames} | fields)


def written(page: Path, *runs: PageRun) -> Path:
    page.write_text(render_review_page(runs, title="Review"), encoding="utf-8")
    return page
