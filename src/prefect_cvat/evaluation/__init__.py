"""How good a function's output is: held against what humans have annotated."""

from prefect_cvat.evaluation.metrics import Evaluation, LabelEvaluation, evaluate
from prefect_cvat.evaluation.task import TaskEvaluation, evaluate_task

__all__ = [
    "Evaluation",
    "LabelEvaluation",
    "TaskEvaluation",
    "evaluate",
    "evaluate_task",
]
