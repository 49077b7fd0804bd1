"""The command `preview`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
from pydantic import Field

from prefect_cvat.cli.command import Only, command
from prefect_cvat.cli.console import stdout
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import PageFile
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.option_base import OnCommandLine, OptionModel
from prefect_cvat.options.run_options import Options

__all__ = ["preview"]


class _Previewed(OptionModel):
    task: Annotated[
        Annotated[int, Field(ge=1, le=2**31 - 1)] | None,
        OnCommandLine(metavar="TASK_ID"),
        Field(description="Preview frames of a task instead."),
    ] = None
    page: Annotated[PageFile, OnCommandLine("--page -o", metavar="FILE")] = Path("preview.html")


@command
def preview(
    files: Annotated[
        Sequence[Path],
        click.Argument(["files"], nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]..."),
    ],
    previewed: _Previewed,
    function: FunctionChoice,
    options: Annotated[Options, Only("frames", "prompts", "conf_threshold", "conv_mask_to_poly")],
) -> None:
    """Run a function on images and draw its detections. Nothing is written to a server.

    FILE is an image, a folder of images, or a video. --frames selects among the frames of a video or a task,
    of which the first four are shown by default, or among the images, of which the first hundred are shown.
    Both are counted from 0.

    \b
    Example:
      prefect-cvat preview photo.jpg --function nanodet_detection
      prefect-cvat preview photos --function nanodet_detection
      prefect-cvat preview drive.mp4 --frames 0,300,600 --function nanodet_detection
    """  # noqa: D301 (\b keeps click from joining the lines)
    if (previewed.task is None) == (not files):
        raise click.BadParameter("give images, a folder of images or a video, or a task with --task")
    if options.frames == "unannotated" and previewed.task is None:
        raise click.BadParameter("--frames unannotated goes with --task")
    if function.exemplars is not None and previewed.task is None:
        raise click.BadParameter("--exemplars goes with --task: files have no shapes")
    loaded = function.load()
    from prefect_cvat.auto_annotation.function_calls import check_sees_single_images
    from prefect_cvat.auto_annotation.function_for_task import make_function
    from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel, labels_of_task
    from prefect_cvat.cli.preview_files import FRAMES_SHOWN, open_files
    from prefect_cvat.files.spool import spool_folder
    from prefect_cvat.inference.detector import Detector
    from prefect_cvat.media.task_frames import read_task_frames
    from prefect_cvat.planning.plan import make_plan, read_task
    from prefect_cvat.rendering import preview as previewing
    from prefect_cvat.rendering.review_page.writer import render_review_page, write_review_page

    def detector(labels: Sequence[TaskLabel] | None = None) -> Detector:
        made = make_function(loaded, labels, options.prompts)
        check_sees_single_images(made)
        return Detector(
            made,
            conf_threshold=options.conf_threshold,
            conv_mask_to_poly=options.conv_mask_to_poly,
        )

    page = previewed.page or Path("preview.html")
    if previewed.task is None:
        opened, count = open_files(files, options.selection.frames)
        run, found = previewing.preview(detector(), opened, count=count, file=page)
    else:
        max_frames = FRAMES_SHOWN if options.frames is None else None
        with spool_folder() as folder, given_server().connect() as client:
            plan = make_plan(read_task(client, previewed.task, options.selection), options.selection)
            opened = read_task_frames(client, plan, folder, max_frames=max_frames)
            count = len(plan.frames) if max_frames is None else max_frames
            of_task = detector(labels_of_task(plan.info.labels))
            run, found = previewing.preview(of_task, opened, count=count, file=page)
    write_review_page(page, render_review_page([run], title=run.heading))
    for name, number in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        stdout.print(f"{number} {name}", markup=False)
    stdout.print(f"drawn in {page.resolve()}", markup=False)
