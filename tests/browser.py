"""Chromium for tests of pages, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; skip the test without playwright.

    Until it is closed, `asyncio.run` and a second Chromium are refused in this thread: playwright keeps its loop
    running. So no fixture may hold it beyond a module.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright, which drives the browser, is missing"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
