"""What models of transformers that find masks are asked for, and how their processors answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_cvat.auto_annotation.functions._transformers import Kind, is_a
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean

__all__ = ["Segmentation", "segmentation_of"]


@dataclass(frozen=True)
class Segmentation:
    """How the masks of a model are made.

    Attributes:
        task: `instance` or `panoptic`.
        is_told: Whether the model gets the task as an input, as OneFormer does.
        stuff: The classes without single objects; each has one mask on an image, of `panoptic`.
    """

    task: str
    is_told: bool = False
    stuff: frozenset[int] = frozenset()

    def inputs(self, images: int) -> dict[str, list[str]]:
        """What the processor gets besides so many images."""
        return {"task_inputs": [self.task] * images} if self.is_told else {}

    def found(
        self, processor: Any, outputs: Any, threshold: float, sizes: Sequence[tuple[int, int]]
    ) -> list[Mapping[str, Any]]:
        """Let the processor make segments of the outputs of the model.

        Args:
            processor: The processor of the model.
            outputs: What the model returned for images.
            threshold: Minimum score.
            sizes: Heights and widths of the images.

        Returns:
            For each image `segmentation`, `[height, width]` with the id of a segment at each pixel, and
            `segments_info` with `id`, `label_id` and `score` of each.
        """
        post_process = getattr(processor, _method(self.task))
        settings: dict[str, Any] = {"threshold": threshold, "target_sizes": list(sizes)}
        if self.task == "panoptic":
            # EoMT's processor has another name for it
            takes = inspect.signature(post_process).parameters
            name = "stuff_classes" if "stuff_classes" in takes else "label_ids_to_fuse"
            settings[name] = set(self.stuff)
        return list(post_process(outputs, **settings))


def segmentation_of(
    model: Any, processor: Any, kind: Kind, task: str, stuff: Sequence[str], names: Mapping[int, str]
) -> Segmentation | None:
    """How the masks of a model are made; None for a model that finds boxes.

    Args:
        model: The model.
        processor: Its processor.
        kind: What the model is for.
        task: `instance` or `panoptic`.
        stuff: The names of classes without single objects.
        names: The names of the classes by number.

    Raises:
        ValueError: The model has no such segmentation, or no such classes.
    """
    if task not in ("instance", "panoptic"):
        raise ValueError(f"segmentation must be 'instance' or 'panoptic', not {task!r}")
    if stuff and task != "panoptic":
        raise ValueError("stuff is for segmentation='panoptic'; leave it out")
    if unknown := [name for name in stuff if name not in names.values()]:
        raise ValueError(
            f"stuff has {quoted_list(unknown)}, not classes of the model"
            f"{did_you_mean(unknown[0], list(names.values()))}"
        )
    if kind is Kind.DETECTION:
        if task != "instance":
            raise ValueError(f"{type(model).__name__} finds boxes; leave segmentation out")
        return None
    is_told = is_a(model, "OneFormerForUniversalSegmentation")
    reader = processor.image_processor if is_told else processor
    if not hasattr(reader, _method(task)):
        raise ValueError(f"{type(model).__name__} has no {task} segmentation")
    return Segmentation(
        task, is_told, frozenset(number for number, name in names.items() if name in set(stuff))
    )


def _method(task: str) -> str:
    return f"post_process_{task}_segmentation"
