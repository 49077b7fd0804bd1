"""The command `functions`: the built-in functions."""

from __future__ import annotations

from typing import Annotated, Any

import click

from prefect_cvat.auto_annotation import loading
from prefect_cvat.auto_annotation.function_for_task import make_function
from prefect_cvat.cli.command import Only, command, command_group
from prefect_cvat.cli.console import stdout
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.extras import is_installed

__all__ = ["functions"]


@command
def list_functions() -> None:
    """List the built-in functions, and the extras that they need."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    functions = loading.builtin_functions()
    width = max(map(len, functions))
    for name, extra in functions.items():
        stdout.print(f"{name:{width}}  {_needs(extra)}".rstrip(), markup=False)


def _needs(extra: str | None) -> str:
    if extra is None:
        return ""
    return f"prefect-cvat[{extra}]" + ("" if is_installed(extra) else " (not installed)")


@command
def show_function(
    name: Annotated[str, click.Argument(["name"])],
    parameters: Annotated[FunctionChoice, Only("function_parameter")],
) -> None:
    """Show the labels of a built-in function, the shapes that it can track, or its prompts.

    \b
    Example:
      prefect-cvat functions show torchvision_detection -p model_name=str:fasterrcnn_resnet50_fpn
    """  # noqa: D301 (\b keeps click from joining the lines)
    function = make_function(parameters.changed(function=name).load())
    for line in spec_lines(function.spec):
        stdout.print(line, markup=False)


functions = command_group("functions", list_functions, list=list_functions, show=show_function)


def spec_lines(spec: Any) -> list[str]:
    """The labels, tracked shape types or prompts of a function."""
    if hasattr(spec, "supported_shape_types"):
        return [f"follows shapes of type {', '.join(sorted(spec.supported_shape_types))}"]
    if hasattr(spec, "min_pos_points"):
        box = {None: "not taken", 0: "taken", 1: "needed"}[spec.min_bounding_boxes]
        return [
            f"points on the object: {_at_least(spec.min_pos_points)}",
            f"points that are not on it: {_at_least(spec.min_neg_points)}",
            f"box around it: {box}",
        ]
    lines = []
    for label in spec.labels:
        lines.append(f"{label.id:>4}  {label.name}  ({label.type})")
        lines += [f"      {sublabel.id:>4}  {sublabel.name}" for sublabel in label.sublabels]
    return lines


def _at_least(number: int | None) -> str:
    if number is None:
        return "not taken"
    return f"{number} or more needed" if number else "taken"
