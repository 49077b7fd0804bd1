"""Makes the deployments that `prefect.yaml`, beside this module, defines.

`prefect deploy` reads that file for a work pool; this module reads it for `prefect-cvat serve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.types.entrypoint import EntrypointType

from prefect_cvat.auto_annotation.loading import find_function
from prefect_cvat.deployments.block_references import block_reference, credentials_reference
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.flows.fan_out import ANNOTATE_TASK
from prefect_cvat.function_block import CvatFunction

__all__ = [
    "ANNOTATE_PROJECT",
    "ANNOTATE_TASK",
    "PREFECT_YAML",
    "TAG",
    "DefaultFunction",
    "make_deployments",
]

PREFECT_YAML = Path(__file__).with_name("prefect.yaml")
"""The file that defines the deployments."""

FIND_NEW_TASKS = "find new tasks/find-new-tasks"
"""The full name of the deployment that finds new tasks."""

ANNOTATE_PROJECT = "annotate project/annotate-project"
"""The full name of the deployment that annotates a project."""

TAG = "prefect-cvat"
"""The tag of all deployments and their runs."""


@dataclass(frozen=True, kw_only=True)
class DefaultFunction:
    """The function of the deployments, used unless a run is started with another one.

    Attributes:
        function: The name of a function; None for the function of `prefect.yaml`, which drops labels that
            the task does not have.
        function_block: The name of a block with a configured function, in place of `function`.
        allow_unmatched_labels: Drop labels that the task does not have, instead of failing.

    Raises:
        ValueError: `function_block` is given together with another attribute.
        FunctionLoadError: The function does not exist, or is not allowed.
    """

    function: str | None = None
    function_block: str | None = None
    allow_unmatched_labels: bool = False

    def __post_init__(self) -> None:
        if self.function_block is not None and (self.function is not None or self.allow_unmatched_labels):
            raise ValueError(
                f"the block {self.function_block!r} defines the function and allow_unmatched_labels; pass"
                " either the block or these options"
            )
        if self.function is not None:
            find_function(self.function)

    def parameters(self) -> dict[str, Any]:
        """The parameters of the deployments that annotate."""
        if self.function_block is not None:
            return {"function_block": block_reference(CvatFunction, self.function_block)}
        if self.function is None:
            return {}
        return {
            "function": self.function,
            "labels": {"allow_unmatched_labels": self.allow_unmatched_labels},
        }


def make_deployments(
    *,
    credentials: str = "main",
    default_function: DefaultFunction | None = None,
    scope: Scope | None = None,
) -> list[RunnerDeployment]:
    """Make the deployments, without a work pool. Applying them does not change their schedules.

    Args:
        credentials: The name of the block with the credentials for CVAT.
        default_function: The function of the deployments.
        scope: The default project of `annotate project` and `find new tasks`, or all tasks; None for no
            default.
    """
    definitions = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
    return [
        _make_deployment(definition, credentials, default_function or DefaultFunction(), scope or Scope())
        for definition in definitions
    ]


def _make_deployment(
    definition: dict[str, Any], credentials: str, default_function: DefaultFunction, scope: Scope
) -> RunnerDeployment:
    flow: Flow[..., Any] = load_flow_from_entrypoint(definition["entrypoint"])
    parameters = {**definition["parameters"], "credentials": credentials_reference(credentials)}
    if "function" in parameters:
        parameters |= default_function.parameters()
    if f"{flow.name}/{definition['name']}" in (ANNOTATE_PROJECT, FIND_NEW_TASKS):
        parameters |= scope.parameters()
    deployment = RunnerDeployment.from_flow(
        flow,
        definition["name"],
        description=definition["description"],
        version=definition["version"],
        tags=definition["tags"],
        parameters=parameters,
        concurrency_limit=ConcurrencyLimitConfig(**definition["concurrency_limit"]),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # with an empty list Prefect 3.9 would delete schedules that were created in its UI
    deployment.model_fields_set.discard("schedules")
    # set explicitly, so that a deployment that was in a work pool is removed from it
    deployment.work_pool_name = None
    return deployment
