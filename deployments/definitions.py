"""The four deployments, as `prefect.yaml` beside this module defines them.

`prefect deploy` reads that file for a work pool; `prefect-cvat serve` makes the same of it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from prefect_cvat.auto_annotation.loading import find_function
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.fan_out import ANNOTATE_TASK
from prefect_cvat.function_block import CvatFunction

__all__ = [
    "ANNOTATE_TASK",
    "PREFECT_YAML",
    "TAG",
    "Annotating",
    "Nightly",
    "credentials_reference",
    "make_deployments",
    "name_blocks_by_id",
]

PREFECT_YAML = Path(__file__).with_name("prefect.yaml")
"""Where the deployments are defined."""

TAG = "prefect-cvat"
"""The tag of all deployments, and so of their runs."""


@dataclass(frozen=True, kw_only=True)
class Nightly:
    """When, and for which project, `annotate project` runs by itself.

    Attributes:
        cron: When, as a cron expression; None for that of `prefect.yaml`.
        timezone: Of which place, such as `Europe/Berlin`; None for that of `prefect.yaml`.
        project_id: The project; without one the schedule is not active.

    Raises:
        ValueError: There is no such time, or no such place.
    """

    cron: str | None = None
    timezone: str | None = None
    project_id: int | None = None

    def __post_init__(self) -> None:
        try:
            CronSchedule(cron=self.cron or "0 0 * * *")
        except ValidationError:
            raise ValueError(
                f"{self.cron!r} is not a cron expression; one is like '0 2 * * *', which is 2 a.m. each day"
            ) from None
        try:
            CronSchedule(cron="0 0 * * *", timezone=self.timezone)
        except ValidationError:
            raise ValueError(
                f"there is no timezone {self.timezone!r}; its name is like 'Europe/Berlin' or 'UTC'"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Annotating:
    """What annotates, unless a run is started with something else.

    Attributes:
        function: The name of a function; None for that of `prefect.yaml`.
        function_block: The name of a block with a configured function, instead.
        allow_unmatched_labels: Drop what a task has no label for, instead of refusing.

    Raises:
        ValueError: There is a block, and something besides that would change it.
        FunctionLoadError: There is no such function, or it is not allowed.
    """

    function: str | None = None
    function_block: str | None = None
    allow_unmatched_labels: bool = False

    def __post_init__(self) -> None:
        if self.function_block is not None and (self.function is not None or self.allow_unmatched_labels):
            raise ValueError(
                f"the block {self.function_block!r} says which function, and whether labels may be unmatched;"
                " leave the block out, or those"
            )
        if self.function is not None:
            find_function(self.function)

    def parameters(self) -> dict[str, Any]:
        """What the deployments that annotate are given."""
        if self.function_block is not None:
            return {"function_block": _reference(CvatFunction, self.function_block)}
        chosen = {} if self.function is None else {"function": self.function}
        return {**chosen, "allow_unmatched_labels": self.allow_unmatched_labels}


def make_deployments(
    *, credentials: str = "main", annotating: Annotating | None = None, nightly: Nightly | None = None
) -> list[RunnerDeployment]:
    """Make the four deployments, without a work pool.

    Args:
        credentials: The name of the block that their runs log in to CVAT with.
        annotating: What annotates.
        nightly: When, and for which project, `annotate project` runs by itself.
    """
    definitions = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
    return [
        _make_deployment(definition, credentials, annotating or Annotating(), nightly or Nightly())
        for definition in definitions
    ]


def credentials_reference(name: str) -> dict[str, Any]:
    """A block with credentials as the value of a parameter: its name, and nothing of what it holds."""
    return _reference(CvatCredentials, name)


def name_blocks_by_id(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with blocks named by their ids: Prefect's form shows none that is named otherwise.

    A block that is not there keeps its name.
    """
    return {name: _by_id(value) for name, value in parameters.items()}


def _by_id(value: Any) -> Any:
    reference = value.get("$ref") if isinstance(value, dict) else None
    if not isinstance(reference, dict) or "block_document_slug" not in reference:
        return value
    block_type, _, name = reference["block_document_slug"].partition("/")
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, block_type)
        except ObjectNotFound:
            return value
    return {"$ref": {"block_document_id": str(document.id)}}


def _reference(block: type[Block], name: str) -> dict[str, Any]:
    return {"$ref": {"block_document_slug": f"{block.get_block_type_slug()}/{name}"}}


def _make_deployment(
    definition: dict[str, Any], credentials: str, annotating: Annotating, nightly: Nightly
) -> RunnerDeployment:
    parameters = {**definition["parameters"], "credentials": credentials_reference(credentials)}
    if "function" in parameters:
        parameters |= annotating.parameters()
    deployment = RunnerDeployment.from_flow(
        load_flow_from_entrypoint(definition["entrypoint"]),
        definition["name"],
        description=definition["description"],
        tags=definition["tags"],
        parameters=parameters,
        schedules=[_make_schedule(schedule, nightly) for schedule in definition.get("schedules", ())],
        concurrency_limit=ConcurrencyLimitConfig(**definition["concurrency_limit"]),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # said, not left out: a deployment that has been in a work pool leaves it
    deployment.work_pool_name = None
    return deployment


def _make_schedule(definition: dict[str, Any], nightly: Nightly) -> Schedule:
    # there even if it is not active: an empty list of schedules would leave an earlier one as it is
    return Cron(
        nightly.cron or definition["cron"],
        timezone=nightly.timezone or definition["timezone"],
        active=nightly.project_id is not None,
        parameters={**definition["parameters"], "project_id": nightly.project_id},
        slug=definition["slug"],
    )
