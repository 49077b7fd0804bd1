"""Options for exporting a dataset."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["ExportOptions"]


class ExportOptions(OptionModel):
    """Options for the content and the format of the dataset."""

    group: ClassVar[str] = "Dataset"

    format: Annotated[
        Literal["coco", "yolo"], Field(description="Format of the dataset; yolo is that of Ultralytics.")
    ] = "coco"
    images: Annotated[
        bool, OnCommandLine("--images/--no-images"), Field(description="Write the images too.")
    ] = True
    left_by_runs: Annotated[
        bool,
        OnCommandLine("--left-by-run"),
        Field(description="Export only the automatic annotations of the task (source auto)."),
    ] = False
