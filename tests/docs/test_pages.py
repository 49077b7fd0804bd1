"""Every code block of the documentation is run, or says why it is not."""

import re
from pathlib import Path

import pytest

from docs.pages import Page
from prefect_cvat.sandbox import Sandbox

DOCS = Path(__file__).parents[2] / "docs"
START = "index.md"
ELSEWHERE = {"operations.md"}  # and the README: both have tests of their own in tests/flows
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for page in DOCS.rglob("*.md")
    if page.name not in ELSEWHERE and "```" in page.read_text(encoding="utf-8")
)

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def address(monkeypatch, tmp_path):
    """A sandbox for each page, so that what the page calls task 1 is task 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "cache"))
    with Sandbox() as server:
        yield server.url.removeprefix("http://")


@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_of_a_page_run(name, address):
    if name != START:
        Page(DOCS / START, address).run_first("python")  # makes task 1, which the other pages use
    page = Page(DOCS / name, address)
    page.run()
    for line, reason in page.skipped.items():
        print(f"{name}:{line} is not run: {reason}")
        assert len(reason.split()) > 2


def _write(folder: Path, text: str) -> Page:
    path = folder / "page.md"
    path.write_text(text)
    return Page(path, "127.0.0.1:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nprint(1)\n```\n```text\n2\n```", "printed is\n1"),
        ("```python\nx = y\n```", "'y' is not defined"),
        ("```sh\nls\n```", "only prefect-cvat is run"),
        ("```sh\nprefect-cvat functions show nothing\n```", "there is no function 'nothing'"),
        ("```ruby\nputs 1\n```", "a block of 'ruby'"),
        ("```\nplain\n```", "a block of ''"),
        ("```json\n{\n```", "property name"),
        ('<!-- skip: next "it is not run" -->\n\n```sh\nls\n```\n\n```text\nx\n```', "no block before"),
    ],
)  # fmt: skip
def test_a_page_that_is_wrong_is_noticed(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=re.escape(message)):
        _write(tmp_path, text).run()


def test_a_page_that_is_right_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = _write(
        tmp_path,
        '```python title="f.py"\nx = 1\n```\n\n```python\nimport pathlib\nprint(pathlib.Path("f.py").read_text(), 7)\n'
        '```\n\n```text\nx = ...7\n```\n\n<!-- skip: next "it needs a GPU" -->\n\n```sh\nnvidia-smi\n```\n',
    )
    page.run()
    assert list(page.skipped.values()) == ["it needs a GPU"]
