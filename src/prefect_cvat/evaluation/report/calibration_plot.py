"""The reliability curve: precision of predictions by their score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_cvat.evaluation.calibration import Calibration
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.rendering.figures import new_figure, png_of, short_label, show_as_plain_text

__all__ = ["calibrations_of", "plot_calibration"]

DPI = 110


def calibrations_of(evaluations: Sequence[TaskEvaluation], iou_type: IouType) -> dict[str, Calibration]:
    """The reliability curves of evaluations by what was evaluated; without those that have none.

    Args:
        evaluations: One evaluation, or the first and the second of a comparison.
        iou_type: Boxes, masks or keypoints.
    """
    places = [""] if len(evaluations) == 1 else ["first: ", "second: "]
    return {
        f"{place}{evaluation.predictions}": curve
        for place, evaluation in zip(places, evaluations, strict=True)
        if iou_type in evaluation.shapes and (curve := evaluation.shapes[iou_type].calibration) is not None
    }


def plot_calibration(calibrations: Mapping[str, Calibration]) -> bytes:
    """Plot reliability curves. The size of a point is the share of predictions in its bin.

    Args:
        calibrations: The curves by the names of predictions.

    Returns:
        A PNG.
    """
    figure, axes = new_figure(6.4, 4.2, DPI)
    axes.plot([0, 1], [0, 1], color="k", linestyle=":", linewidth=1, label="score = precision")
    for name, calibration in calibrations.items():
        scores = [each.mean_score for each in calibration.bins]
        precision = [each.precision for each in calibration.bins]
        total = sum(each.count for each in calibration.bins)
        sizes = [20 + 180 * each.count / total for each in calibration.bins]
        error = f"{calibration.expected_error:.3f}"
        [line] = axes.plot(scores, precision, linewidth=1.2, label=f"{short_label(name)} (error {error})")
        axes.scatter(scores, precision, s=sizes, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="mean score", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    show_as_plain_text(axes.legend(frameon=False, fontsize=8))
    return png_of(figure)
