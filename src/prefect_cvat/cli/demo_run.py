"""The demo: photographs and a video in a sandbox, annotated by a real detector through the Prefect flows."""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import PIL.Image
from pydantic import SecretStr

from prefect_cvat.cvat.client import Client
from prefect_cvat.extras import import_library
from prefect_cvat.media.untrusted_images import open_image
from prefect_cvat.media.video_chunk import import_pyav
from prefect_cvat.models import PatchedLabelRequest
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.rendering.review_page.content import PageRun
from prefect_cvat.rendering.review_page.writer import render_review_page, write_review_page
from prefect_cvat.rendering.run_page import page_of_run
from prefect_cvat.sandbox import Nuclio, Sandbox

if TYPE_CHECKING:
    from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["run_demo"]

PHOTOS = (
    *("astronaut", "camera", "chelsea", "coffee"),
    *("horse", "motorcycle_left", "motorcycle_right", "rocket"),
)
"""Photographs in the wheel of scikit-image, in the public domain or free to use."""

LIBRARIES = "torch", "torchvision", "safetensors", "av", "trackers"
"""What NanoDet, the video and its tracks need."""

FUNCTIONS = "nanodet_detection", "grabcut_interaction", "optical_flow_tracking"
"""What the sandbox's page of a frame offers."""

CLIP_FRAMES = 40

CLIP_SIZE = 640, 400
"""Pixels of the video, across and down."""


@contextmanager
def run_demo(
    page: Path, echo: Callable[[str], None], *, with_functions: bool = False
) -> Iterator[tuple[RunReport, RunReport, str]]:
    """Annotate photographs and a video in a sandbox with NanoDet, and write a page with the results.

    Within the block, the sandbox is still there.

    Args:
        page: The file of the page.
        echo: Prints a line of progress.
        with_functions: Whether a gateway serves functions for single objects to the sandbox.

    Yields:
        The reports of the two runs, and the address of the sandbox's page of the first photograph.

    Raises:
        MissingLibraryError: A library is missing; the message says how to install it.
    """
    for library in LIBRARIES:
        import_library(library, "the demo", extra="pytorch,video")
    with tempfile.TemporaryDirectory(prefix="prefect-cvat-demo-", ignore_cleanup_errors=True) as folder:
        _configure_prefect(Path(folder))
        # Prefect reads its settings when it is first imported
        from prefect_cvat.credentials import CvatCredentials
        from prefect_cvat.flows.annotate_task import annotate_task
        from prefect_cvat.flows.track_task import track_task

        with ExitStack() as servers:
            nuclio = servers.enter_context(_functions()) if with_functions else None
            server = servers.enter_context(Sandbox(nuclio=nuclio))
            client = servers.enter_context(Client(server.url))
            client.login((server.user, server.password))
            echo(f"sandbox at {server.url} (a simulation of CVAT)")
            task_id = create_demo_task(client)
            echo(f"task {task_id} with {len(PHOTOS)} photographs; Prefect starts, which takes a while ...")
            CvatCredentials(url=server.url, username=server.user, password=SecretStr(server.password)).save(
                "demo", overwrite=True
            )
            stored = cast("CvatCredentials", CvatCredentials.load("demo"))
            photographs: RunReport = annotate_task(task_id, stored, function="nanodet_detection")
            clip_id = create_demo_clip(client)
            echo(f"task {clip_id} with a video of {CLIP_FRAMES} frames")
            tracking = TrackOptions(tolerance=8)  # the camera moves smoothly, the boxes do not
            clip: RunReport = track_task(
                clip_id, stored, function="nanodet_detection", track_options=tracking
            )
            every = range(0, CLIP_FRAMES, CLIP_FRAMES // 8)
            runs = [
                page_of_task(client, photographs, "Photographs"),
                page_of_task(client, clip, "Tracks in a video", every),
            ]
            write_review_page(page, render_review_page(runs, title="prefect-cvat demo"))
            job = client.jobs(task_id)[0].id
            yield photographs, clip, f"{server.url}/tasks/{task_id}/jobs/{job}?frame=0"


@contextmanager
def _functions() -> Iterator[Nuclio]:
    """A gateway with a function of each kind, and what a server must know to call it."""
    from prefect_cvat.gateway import Gateway, GatewayConfiguration, ServedFunction

    served = [ServedFunction(function=name) for name in FUNCTIONS]
    with Gateway(GatewayConfiguration(port=0, functions=served)) as gateway:
        yield Nuclio(port=gateway.port, function_namespace=gateway.secret)


def create_demo_task(client: Client) -> int:
    """Create a task with the photographs and some COCO labels; return its number."""
    task = client.create_task("photographs of scikit-image", coco_labels())
    client.upload_images(task.id, {f"{name}.png": _photo(name) for name in PHOTOS}, chunk_size=2)
    return task.id


def create_demo_clip(client: Client) -> int:
    """Create a task with a video, in two jobs that overlap, and some COCO labels; return its number."""
    task = client.create_task("a pan over a photograph", coco_labels(), segment_size=25, overlap=5)
    client.upload_images(task.id, {"pan.mp4": pan_over_photo(_photo("motorcycle_left"), CLIP_FRAMES)})
    return task.id


def pan_over_photo(photo: bytes, frames: int) -> bytes:
    """Make a short mp4 by moving a camera over a photograph, to the right and closer.

    Args:
        photo: The bytes of an image file.
        frames: How many frames the video has; ten are shown in a second.
    """
    av = import_pyav()
    image = open_image(io.BytesIO(photo), "the photograph").convert("RGB")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *CLIP_SIZE, "yuv420p"
        for number in range(frames):
            done = number / (frames - 1)
            width = image.width * (0.95 - 0.25 * done)
            height = width * CLIP_SIZE[1] / CLIP_SIZE[0]
            left, top = (image.width - width) * done, (image.height - height) * 0.6
            view = image.resize(CLIP_SIZE, box=(left, top, left + width, top + height))
            container.mux(stream.encode(av.VideoFrame.from_image(view)))
        container.mux(stream.encode())
    return buffer.getvalue()


def page_of_task(client: Client, report: RunReport, heading: str, frames: range | None = None) -> PageRun:
    """What the page shows of a run: all frames of its task, or some."""
    plan = make_plan(read_task(client, report.task_id), Selection(frames=frames))
    ranked = [review for review in report.review if frames is None or review.frame in frames]
    count = len(plan.frames)
    return page_of_run(client, plan, report, ranked, None, max_frames=count, heading=heading)


def coco_labels() -> list[PatchedLabelRequest]:
    from prefect_cvat.auto_annotation.functions import nanodet_detection

    spec = nanodet_detection.create(device="cpu").spec
    return [label.model_copy(update={"id": None}) for label in spec.labels]


def _photo(name: str) -> bytes:
    import skimage.data

    if name.startswith("motorcycle"):
        # stereo_motorcycle() also loads a disparity map, which is not in the wheel
        return (Path(skimage.data.__file__).parent / f"{name}.png").read_bytes()
    pixels = getattr(skimage.data, name)()
    if pixels.dtype == bool:
        pixels = pixels.astype("uint8") * 255
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _configure_prefect(home: Path) -> None:
    """Set up a temporary, quiet Prefect server for this process."""
    for name in list(os.environ):
        if name.startswith("PREFECT_") and not name.startswith("PREFECT_CVAT_"):
            del os.environ[name]
    os.environ.update(
        PREFECT_HOME=str(home / "prefect"),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="300",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
        PREFECT_LOGGING_LEVEL="WARNING",
        PREFECT_SERVER_LOGGING_LEVEL="ERROR",
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
