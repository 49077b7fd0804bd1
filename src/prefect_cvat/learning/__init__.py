"""What corrections teach: how often shapes are right, thresholds, a label map, and images to train on."""

from __future__ import annotations

from prefect_cvat.learning.learn_report import LearnReport
from prefect_cvat.learning.learn_task import learn_task

__all__ = ["LearnReport", "learn_task"]
