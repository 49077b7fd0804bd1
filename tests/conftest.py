"""What the tests share: a home for Prefect, a sandbox, photographs."""

import os
import tempfile

from certificates import one_certificate

# before anything imports Prefect: results and settings of the tests stay apart from the user's
os.environ.update(
    PREFECT_HOME=tempfile.mkdtemp(prefix="prefect-cvat-tests-"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    PREFECT_LOGGING_LEVEL="ERROR",
    PREFECT_CVAT_CACHE_DIR=tempfile.mkdtemp(prefix="prefect-cvat-cache-"),
    PREFECT_CVAT_RUNS_DIR=tempfile.mkdtemp(prefix="prefect-cvat-runs-"),
    PREFECT_CVAT_LEARNED_DIR=tempfile.mkdtemp(prefix="prefect-cvat-learned-"),
    PREFECT_CVAT_PROFILES_FILE=os.devnull,
    # faults of the sandbox end sooner than those of a real server
    PREFECT_CVAT_LATE_COMMIT_SECONDS="1",
    PREFECT_CVAT_STALE_READ_SECONDS="0.3",
    # only the tests of OpenVINO convert models: it takes seconds for each
    PREFECT_CVAT_RUNTIME="torch",
    # several processes run tests at once: threads of one that wait for their turn take the others' time
    OMP_NUM_THREADS="1",
    # each client of Prefect reads all certificates again, in 20 ms; the servers of the tests have none
    **dict.fromkeys(("PREFECT_API_SSL_CERT_FILE", "SSL_CERT_FILE"), one_certificate()),
)

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from browser import chromium
from pictures import picture
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from pure_tests import NOT_PURE_FIXTURES, TESTS, is_pure_module

if TYPE_CHECKING:  # Prefect and the sandbox take seconds to import; `make check` needs neither
    from playwright.sync_api import Browser

    from docs.shell import Shell
    from moving_blocks import World
    from prefect_cvat.credentials import CvatCredentials
    from prefect_cvat.sandbox import Sandbox
    from prefect_cvat.sandbox.faults.active_faults import Faults

# on a busy machine one example may take long; pytest-timeout ends what hangs
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

MakeTask = Callable[..., int]
MakeVideoTask = Callable[..., int]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no other module where only the pure tests are wanted."""
    is_module = collection_path.suffix == ".py" and collection_path.is_relative_to(TESTS)
    return (
        True
        if is_module and config.option.markexpr == "pure" and not is_pure_module(collection_path)
        else None
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the pure tests."""
    for item in items:
        if is_pure_module(item.path) and not NOT_PURE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("pure")


@pytest.fixture(autouse=True)
def _no_server_in_pure_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a pure test that connects or starts a process: `tests/pure_tests.py` is to know why it is not pure."""
    if request.node.get_closest_marker("pure") is None:
        yield
        return

    def refuse(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("a pure test connects or starts a process; add the reason to tests/pure_tests.py")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(subprocess.Popen, "__init__", refuse)
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_event_loop_is_left() -> Iterator[None]:
    """Fail a module that leaves an event loop running, which would break the modules after it."""
    yield
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium for the tests of a module."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of photographs, videos and references that are too large for this repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PREFECT_CVAT_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} is not a folder (set PREFECT_CVAT_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def sandbox() -> "Iterator[Sandbox]":
    from prefect_cvat.sandbox import Sandbox

    with Sandbox() as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A Prefect server for all tests of a session."""
    from prefect_test_server import prefect_test_server

    databases = request.config.cache.mkdir("prefect-databases")
    with prefect_test_server(tmp_path_factory.mktemp("prefect"), databases):
        yield


@pytest.fixture
def client(sandbox: "Sandbox") -> Iterator[Client]:
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        yield client


@pytest.fixture
def faults(sandbox: "Sandbox") -> "Iterator[Faults]":
    """The faults of the sandbox, cleared after the test."""
    yield sandbox.faults
    sandbox.faults.clear()
    sandbox.faults.wait()


@pytest.fixture
def sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let annotations not wait until there are enough for a request."""
    monkeypatch.setattr("prefect_cvat.upload.sending.upload_queue.FIRST_WAIT", 0.0)


@pytest.fixture
def world(client: Client) -> "Callable[..., World]":
    """Create a task of blocks that move."""
    from moving_blocks import create_world

    return partial(create_world, client)


@pytest.fixture
def credentials(prefect_server: None, sandbox: "Sandbox") -> "CvatCredentials":
    """A log-in to the sandbox, saved as the block `cvat-credentials/test`."""
    from prefect_cvat.credentials import CvatCredentials

    CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)).save(
        "test", overwrite=True
    )
    return CvatCredentials.load("test")


@pytest.fixture
def make_task(client: Client) -> MakeTask:
    """Create a task of small pictures, with the labels `car` and `person`."""

    def make(
        frames: int = 6,
        *,
        labels: list | None = None,
        chunk_size: int = 2,
        size: tuple[int, int] = (64, 48),
        **fields: object,
    ) -> int:
        specs = labels or [label_spec("car", None), label_spec("person", None)]
        task = client.create_task("a task", specs, **fields)
        images = {f"{i:04}.png": picture(*size, seed=i) for i in range(frames)}
        client.upload_images(task.id, images, chunk_size=chunk_size)
        return task.id

    return make


@pytest.fixture(scope="session")
def sdk(sandbox: "Sandbox") -> Iterator[Any]:
    """The official client, logged in to the sandbox."""
    from cvat_sdk import make_client

    with make_client(sandbox.url, credentials=(sandbox.user, sandbox.password)) as client:
        client.config.status_check_period = 0.05
        yield client


@pytest.fixture
def video_task(sdk: Any, tmp_path: Path) -> MakeVideoTask:
    """Create a task of a video, with the label `car`, by the official SDK."""

    def make(data: bytes, *, name: str = "clip.mp4", segment_size: int = 0, **parameters: object) -> int:
        path = tmp_path / name
        path.write_bytes(data)
        spec = {"name": "a video", "labels": [{"name": "car"}], "segment_size": segment_size}
        parameters = {"image_quality": 70, "chunk_size": 4, **parameters}
        return sdk.tasks.create_from_data(spec, [path], data_params=parameters).id

    return make


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel of this project is built from."""
    root, copy = TESTS.parent, tmp_path_factory.mktemp("source")
    for name in ("src", "flows", "tasks", "deployments", "functions"):
        shutil.copytree(root / name, copy / name)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    return copy


@pytest.fixture(scope="session")
def wheels(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this project, and return its folder."""
    folder = tmp_path_factory.mktemp("wheels")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    return folder


@pytest.fixture
def shell(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Shell]":
    """A shell in an empty current folder."""

    from docs.shell import Shell

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "cache"))
    with Shell(tmp_path, wheels) as shell:
        yield shell
