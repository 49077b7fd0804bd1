"""The tasks that a schedule or automation is for: those of one project, all tasks, or by default none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Scope"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The tasks of a project, or all tasks that the user of the credentials may see; by default none.

    Attributes:
        project_id: The id of the project in CVAT.
        all_tasks: All tasks, of any project or none.

    Raises:
        ValueError: Both are given.
    """

    project_id: int | None = None
    all_tasks: bool = False

    def __post_init__(self) -> None:
        if self.project_id is not None and self.all_tasks:
            raise ValueError(
                f"--project {self.project_id} and --all-tasks contradict each other; pass one of them"
            )

    def __bool__(self) -> bool:
        """Whether a project or all tasks are selected."""
        return self.all_tasks or self.project_id is not None

    def __str__(self) -> str:
        """Such as `project 7`."""
        if self.all_tasks:
            return "all tasks"
        return "no project" if self.project_id is None else f"project {self.project_id}"

    def parameters(self) -> dict[str, Any]:
        """The scope as parameters of the flow `annotate project`."""
        if self.project_id is not None:
            return {"project_id": self.project_id}
        return {"all_tasks": True} if self.all_tasks else {}

    @classmethod
    def of_parameters(cls, parameters: dict[str, Any]) -> Scope:
        """The scope of parameters of the flow `annotate project`."""
        project_id = parameters.get("project_id")
        return cls(
            project_id=project_id, all_tasks=project_id is None and parameters.get("all_tasks") is True
        )
