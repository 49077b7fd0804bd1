"""Which tests are pure: they need no server, no process, no network, no Prefect and no model. `make check` runs them.

They are not marked by hand: a test is pure if neither its module nor the support modules it imports import
anything in `NOT_PURE`, and none of its fixtures is in `NOT_PURE_FIXTURES`.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent

NOT_PURE_FIXTURES = {"prefect_server", "sandbox", "serve", "server", "test_data", "wheels"}
"""Fixtures that start a server or a process, and the photographs that models annotate."""

NOT_PURE = {
    "cvat_sdk",
    "http.server",
    "httpx",
    "multiprocessing",
    "prefect",
    "requests",
    "socket",
    "subprocess",
    "torch",
    "torchvision",
    "tracemalloc",  # tracing makes code ten times slower
    "transformers",
    "typer.testing",
    "prefect_cvat.deployments",
    "prefect_cvat.flows",
    "prefect_cvat.sandbox",
    "prefect_cvat.tasks",
}

SLOW_FOLDERS = {"compatibility", "docs", "functions", "gpu", "hostile", "sandbox", "soak"}
"""Folders that need more than the library: the SDK, all pages, models, the sandbox."""


@cache
def is_pure_module(path: Path) -> bool:
    """Whether a module of tests, with the support modules that it imports, imports nothing of `NOT_PURE`."""
    if SLOW_FOLDERS & set(path.relative_to(TESTS).parts):
        return False
    for name in _imports(path):
        if any(name == other or name.startswith(f"{other}.") for other in NOT_PURE):
            return False
        support = TESTS.joinpath(*name.split(".")).with_suffix(".py")
        if support.is_file() and not is_pure_module(support):
            return False
    return True


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
