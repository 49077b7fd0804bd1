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
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.types.entrypoint import EntrypointType

from prefect_cvat.auto_annotation.loading import find_function
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.flows.fan_out import ANNOTATE_TASK
from prefect_cvat.function_block import CvatFunction

__all__ = [
    "ANNOTATE_PROJECT",
    "ANNOTATE_TASK",
    "PREFECT_YAML",
    "TAG",
    "Annotating",
    "credentials_reference",
    "make_deployments",
    "name_blocks_by_id",
]

PREFECT_YAML = Path(__file__).with_name("prefect.yaml")
"""Where the deployments are defined."""

ANNOTATE_PROJECT = "annotate project/annotate-project"
"""The full name of the deployment that annotates a project."""

TAG = "prefect-cvat"
"""The tag of all deployments, and so of their runs."""


@dataclass(frozen=True, kw_only=True)
class Annotating:
    """What annotates, unless a run is started with something else.

    Attributes:
        function: The name of a function; None for that of `prefect.yaml`, which drops what a task has no
            label for.
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
        if self.function is None:
            return {}
        return {
            "function": self.function,
            "labels": {"allow_unmatched_labels": self.allow_unmatched_labels},
        }


def make_deployments(
    *,
    credentials: str = "main",
    annotating: Annotating | None = None,
    scope: Scope | None = None,
) -> list[RunnerDeployment]:
    """Make the four deployments, without a work pool. Applying them leaves the schedules that they have.

    Args:
        credentials: The name of the block that their runs log in to CVAT with.
        annotating: What annotates.
        scope: Which tasks `annotate project` annotates unless a run is started with others; None for none.
    """
    definitions = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
    return [
        _make_deployment(definition, credentials, annotating or Annotating(), scope or Scope())
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
    definition: dict[str, Any], credentials: str, annotating: Annotating, scope: Scope
) -> RunnerDeployment:
    flow: Flow[..., Any] = load_flow_from_entrypoint(definition["entrypoint"])
    parameters = {**definition["parameters"], "credentials": credentials_reference(credentials)}
    if "function" in parameters:
        parameters |= annotating.parameters()
    if f"{flow.name}/{definition['name']}" == ANNOTATE_PROJECT:
        parameters |= scope.parameters()
    deployment = RunnerDeployment.from_flow(
        flow,
        definition["name"],
        description=definition["description"],
        tags=definition["tags"],
        parameters=parameters,
        concurrency_limit=ConcurrencyLimitConfig(**definition["concurrency_limit"]),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # Prefect 3.9 takes an empty list for the wish to delete schedules that were made in its pages
    deployment.model_fields_set.discard("schedules")
    # said, not left out: a deployment that has been in a work pool leaves it
    deployment.work_pool_name = None
    return deployment
