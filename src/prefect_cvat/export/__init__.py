"""Exports a function's detections on a task, or its annotations, as a dataset in COCO or YOLO format."""

from prefect_cvat.export.export_report import ExportReport
from prefect_cvat.export.task import DatasetFormat, export_task

__all__ = ["DatasetFormat", "ExportReport", "export_task"]
