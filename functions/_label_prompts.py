"""What to look for in an image: words for the labels of a task, see `auto_annotation.label_prompts`."""

from __future__ import annotations

from prefect_cvat.auto_annotation.label_prompts import LabelPrompts, prompts_for_labels

__all__ = ["LabelPrompts", "prompts_for_labels"]
