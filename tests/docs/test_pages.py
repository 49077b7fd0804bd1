"""Every code block of the documentation runs."""

import re
from pathlib import Path

import pytest

from docs.pages import Page
from ports import free_port
from prefect_cvat.sandbox import Sandbox

DOCS = Path(__file__).parents[2] / "docs"
START = "index.md"
ELSEWHERE = {"operations.md"}  # tests/e2e/test_operations_page.py; the README has tests/flows/test_readme.py
FENCE = re.compile(r"^[ >]*(?:`{3,}|~{3,})", re.MULTILINE)
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for page in DOCS.rglob("*.md")
    if page.name not in ELSEWHERE and FENCE.search(page.read_text(encoding="utf-8"))
)
SANDBOX = "127.0.0.1:8080"
"""The address of the sandbox in the pages."""

GATEWAYS = ("8070", "8071")
"""The ports of gateways in the pages."""

NEEDED = {
    "prefect_server": "from prefect_cvat.flows",
    "downloaded_weights": "torchvision_detection.create(",
    "downloaded_word_model": "--function open_vocabulary_detection",
}
"""Fixtures for some pages, and the text that shows that a page needs them."""

pytestmark = pytest.mark.filterwarnings("default")


def test_start_page_runs(shell):
    """The page installs the package and starts its own sandbox."""
    port = free_port()
    instead = {
        SANDBOX: f"127.0.0.1:{port}",
        "prefect-cvat sandbox\n": f"prefect-cvat sandbox --port {port}\n",
    }
    Page(DOCS / START, shell, instead).run()


@pytest.mark.parametrize("name", [name for name in PAGES if name != START])
def test_blocks_of_page_run(name, shell, request):
    """Each page has its own sandbox, so that its task 1 exists."""
    for fixture, sign in NEEDED.items():
        if sign in (DOCS / name).read_text(encoding="utf-8"):
            request.getfixturevalue(fixture)
    with Sandbox() as server:
        instead = {SANDBOX: server.url.removeprefix("http://")}
        Page(DOCS / START, shell, instead).run_first("python")  # makes task 1
        instead |= {port: str(free_port()) for port in GATEWAYS}
        Page(DOCS / name, shell, instead).run()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_no_block_is_skipped(page, shell):
    text = page.read_text(encoding="utf-8")
    assert len(FENCE.findall(text)) == 2 * Page(page, shell).blocks


def _write(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nprint(1)\n```\n```text\n2\n```", "printed is\n1"),
        ("```python\nx = y\n```", "'y' is not defined"),
        ("```sh\nls\n```", "no command that is known here: ls"),
        ("```sh\nprefect-cvat functions show nothing\n```", "there is no function 'nothing'"),
        ("```sh\nprefect-cvat sandbox --port 0\n```\n```text\nready https://...\n```", "ready http://"),
        ("```sh\nprefect-cvat sandbox --host 192.0.2.1\n```\n```text\nready ...\n```", "serves this machine"),
        ("```sh\nprefect-cvat sandbox --port 0\nls\n```", "'ls' comes after a server"),
        ("```sh\nprefect-cvat sandbox --port 0\n```\n```sh\nls\n```", "a server goes before what it prints"),
        ("```sh\npip install 'prefect-cvat[vide]'\n```", "prefect-cvat has no extra 'vide'"),
        ("```sh\npip install 'prefect-cvat[video,vide]'\n```", "prefect-cvat has no extra 'vide'"),
        ("```sh\npip install prefect-cvta\n```", "No matching distribution found for prefect-cvta"),
        ("```ruby\nputs 1\n```", "a block of 'ruby'"),
        ("```\nplain\n```", "a block of ''"),
        ("```json\n{\n```", "property name"),
        ("```text\nx\n```", "no block before"),
        ("```drawing\nplan_task -> plan_nothing\n```", "there is no plan_nothing"),
        ("```drawing\nCVAT -> prefect-cvat shout\n```", "there is no shout"),
        ("```drawing\na -> b\n```", "nothing in this drawing"),
        ('<!-- skip: next "it is not run" -->\n\n```sh\nls\n```', "no command that is known here: ls"),
    ],
)  # fmt: skip
def test_wrong_page_fails(text, message, tmp_path, shell, monkeypatch):
    monkeypatch.setattr("docs.shell.SERVER_SECONDS", 5)
    with pytest.raises(Exception, match=re.escape(message)):
        Page(_write(tmp_path, text), shell).run()


def test_correct_page_runs(tmp_path, shell, monkeypatch):
    monkeypatch.delenv("WHERE", raising=False)
    page = Page(
        _write(
            tmp_path,
            '```python title="f.py"\nx = 1\n```\n\n```sh\nexport WHERE=there\n```\n\n```python\nimport os, pathlib\n'
            'print(pathlib.Path("f.py").read_text(), os.environ["WHERE"])\n```\n\n```text\nx = ...there\n```\n\n'
            "```sh\nprefect-cvat sandbox --port 0\n```\n\n```text\n...\nready http://127.0.0.1:8...\n```\n",
        ),
        shell,
        {"127.0.0.1:8": "127.0.0.1:"},
    )
    assert page.blocks == 6
    page.run()
