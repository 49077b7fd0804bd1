"""Evaluates and compares annotations of functions or of runs on manual annotations as ground truth."""

from prefect_cvat.evaluation.comparison.differences import ShapeComparison, compare_evaluations
from prefect_cvat.evaluation.comparison.task_comparison import TaskComparison, compare_task
from prefect_cvat.evaluation.evaluator import evaluate
from prefect_cvat.evaluation.metrics import Evaluation, LabelEvaluation
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation, evaluate_task

__all__ = [
    "Evaluation",
    "LabelEvaluation",
    "ShapeComparison",
    "TaskComparison",
    "TaskEvaluation",
    "compare_evaluations",
    "compare_task",
    "evaluate",
    "evaluate_task",
]
