"""Evaluates the annotations of a function or of runs on manual annotations as ground truth."""

from prefect_cvat.evaluation.metrics import Evaluation, LabelEvaluation, evaluate
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation, evaluate_task

__all__ = [
    "Evaluation",
    "LabelEvaluation",
    "TaskEvaluation",
    "evaluate",
    "evaluate_task",
]
