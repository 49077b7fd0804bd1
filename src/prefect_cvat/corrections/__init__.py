"""What people have corrected of what runs wrote, and the time that this saved."""

from __future__ import annotations

from prefect_cvat.corrections.correction import Correction, CorrectionKind
from prefect_cvat.corrections.saved_time import LabelSavings, SavedTime, SavedTimeSum, saved_time
from prefect_cvat.corrections.task_corrections import TaskCorrections, corrections_of_task

__all__ = [
    "Correction",
    "CorrectionKind",
    "LabelSavings",
    "SavedTime",
    "SavedTimeSum",
    "TaskCorrections",
    "corrections_of_task",
    "saved_time",
]
