"""What was found on a task, or is there already, as a dataset in COCO's or YOLO's format."""

from prefect_cvat.export.report import ExportReport
from prefect_cvat.export.task import DatasetFormat, export_task

__all__ = ["DatasetFormat", "ExportReport", "export_task"]
