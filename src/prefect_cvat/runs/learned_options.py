"""The label map, the thresholds and the order of review of a run: as given, and where not, as learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prefect_cvat.models import PatchedLabelRequest
from prefect_cvat.options.label_and_threshold_options import LabelMap
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import TaskInfo
from prefect_cvat.review.calibration import ShapeProbability
from prefect_cvat.review.conclusions import conclude
from prefect_cvat.review.learned import read_learned

__all__ = ["LearnedOptions", "learned_options"]


@dataclass(frozen=True)
class LearnedOptions:
    """Options that corrections can teach.

    Attributes:
        label_map: The label map.
        learned_labels: Its entries that were learned.
        label_thresholds: Confidence thresholds, by label of the function.
        probability: The learned probability that a shape is right; None if nothing was learned.
        missed_per_frame: The mean number of objects that are missed on a frame; None likewise.
        summary: What was learned and is used, or why nothing is; empty if it is not asked for.
    """

    label_map: LabelMap | None = None
    learned_labels: Mapping[str, str] = field(default_factory=dict)
    label_thresholds: Mapping[str, float] = field(default_factory=dict)
    probability: ShapeProbability | None = None
    missed_per_frame: float | None = None
    summary: str = ""


def learned_options(
    server: str,
    info: TaskInfo,
    function: str,
    version: str | None,
    labels: Sequence[PatchedLabelRequest],
    options: Options,
) -> LearnedOptions:
    """Complete the options of a run by what was learned, if that is asked for.

    What is learned about labels that the function or the task no longer has is not used, nor are thresholds
    and a label map that were learned about another version of the function.

    Args:
        server: The address of the server.
        info: The task.
        function: The name of the function.
        version: Its version, see `Provenance.version`.
        labels: The labels of the function.
        options: The options of the run; they come before what was learned.

    Raises:
        StorageError: What was learned cannot be read.
    """
    given = LearnedOptions(options.label_map, label_thresholds=options.label_thresholds or {})
    if not options.learned:
        return given
    learned = read_learned(server, info.task.project_id, info.task.id)
    evidence = learned.evidence.get(function)
    if not evidence:
        why = f"nothing is learned about {function} in {learned.place} yet"
        how = f"correct annotations, then run `prefect-cvat learn {info.task.id}`"
        return replace(given, summary=f"{why}: {how}")
    found = conclude(evidence, version)
    own = {label.name for label in labels}
    names = {label.id: label.name for label in info.labels}
    label_map = {
        name: target
        for name, target in found.label_map.items()
        if name in own and target in names.values() and name not in (given.label_map or {})
    }
    thresholds = {name: threshold for name, threshold in found.thresholds.items() if name in own}
    return LearnedOptions(
        label_map=label_map | dict(given.label_map or {}) or None,
        learned_labels=label_map,
        label_thresholds=thresholds | dict(given.label_thresholds),
        probability=found.calibration.of_labels(names),
        missed_per_frame=found.missed_per_frame,
        summary=found.summary(learned.place),
    )
