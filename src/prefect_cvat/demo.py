"""The demo: photographs in a sandbox, annotated by a real detector through the Prefect flow."""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import PIL.Image
from pydantic import SecretStr

from prefect_cvat.client import Client
from prefect_cvat.html_report import AnnotatedFrame, render_report
from prefect_cvat.models import Sublabel
from prefect_cvat.plan import Selection, read_task
from prefect_cvat.preview import open_task_frames
from prefect_cvat.sandbox import Sandbox

if TYPE_CHECKING:
    from prefect_cvat.report import RunReport

__all__ = ["run_demo"]

PHOTOS = (
    *("astronaut", "camera", "chelsea", "coffee"),
    *("horse", "motorcycle_left", "motorcycle_right", "rocket"),
)
"""Photographs that scikit-image's wheel brings along, in the public domain or free to use."""


def run_demo(report_path: Path, say: Callable[[str], None]) -> RunReport:
    """Annotate photographs in a sandbox with NanoDet, and write what was found as a page.

    Args:
        report_path: Where to write the page.
        say: Is told what happens.

    Returns:
        What the run did.
    """
    with tempfile.TemporaryDirectory(prefix="prefect-cvat-demo-", ignore_cleanup_errors=True) as folder:
        _configure_prefect(Path(folder))
        # Prefect reads its settings when it is first imported
        from prefect_cvat.credentials import CvatCredentials
        from prefect_cvat.flows.annotate_task import annotate_task

        with Sandbox() as server, Client(server.url) as client:
            client.login((server.user, server.password))
            say(f"sandbox at {server.url} (it is not CVAT, but speaks like it)")
            task_id = create_demo_task(client)
            say(f"task {task_id} with {len(PHOTOS)} photographs; Prefect starts, which takes a while ...")
            CvatCredentials(url=server.url, username=server.user, password=SecretStr(server.password)).save(
                "demo", overwrite=True
            )
            stored = cast("CvatCredentials", CvatCredentials.load("demo"))
            report: RunReport = annotate_task(task_id, stored, function="nanodet_detection")
            page = render_task(client, task_id, report, title="prefect-cvat demo")
    report_path.write_text(page, encoding="utf-8")
    return report


def create_demo_task(client: Client) -> int:
    """Create a task with the photographs and some COCO labels; return its number."""
    from prefect_cvat.auto_annotation.functions import nanodet_detection

    labels = [
        label.model_copy(update={"id": None}) for label in nanodet_detection.create(device="cpu").spec.labels
    ]
    task = client.create_task("photographs of scikit-image", labels)
    client.upload_images(task.id, {f"{name}.png": _photo(name) for name in PHOTOS}, chunk_size=2)
    return task.id


def render_task(client: Client, task_id: int, report: RunReport, *, title: str) -> str:
    """Draw the annotations that a task has now on its frames, as a page."""
    info = read_task(client, task_id)
    owners: list[Sublabel] = [owner for label in info.labels for owner in (label, *label.sublabels)]
    labels = {owner.id: owner.name for owner in owners}
    found = [client.job_annotations(job.id) for job in info.jobs]
    with tempfile.TemporaryDirectory() as folder:
        frames = [
            AnnotatedFrame(
                frame,
                image,
                [tag for data in found for tag in data.tags if tag["frame"] == frame.number],
                [shape for data in found for shape in data.shapes if shape["frame"] == frame.number],
            )
            for frame, image in open_task_frames(client, task_id, Selection(), Path(folder))
        ]
    return render_report(report, frames, labels, title=title)


def _photo(name: str) -> bytes:
    import skimage.data

    if name.startswith("motorcycle"):
        # stereo_motorcycle() would also ask for a disparity map, which the wheel does not bring along
        return (Path(skimage.data.__file__).parent / f"{name}.png").read_bytes()
    pixels = getattr(skimage.data, name)()
    if pixels.dtype == bool:
        pixels = pixels.astype("uint8") * 255
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _configure_prefect(home: Path) -> None:
    """A Prefect server of our own for this process, quiet, that leaves nothing behind."""
    for name in list(os.environ):
        if name.startswith("PREFECT_") and not name.startswith("PREFECT_CVAT_"):
            del os.environ[name]
    os.environ.update(
        PREFECT_HOME=str(home / "prefect"),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
        PREFECT_LOGGING_LEVEL="WARNING",
        PREFECT_SERVER_LOGGING_LEVEL="ERROR",
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
