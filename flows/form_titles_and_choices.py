"""How parameters of the flows look in Prefect's form: their titles, and the functions to choose from.

Prefect takes the schema of the form from the types of the parameters, and their help texts from the docstring
of the flow. (Prefect 3.9 ignores the description of an annotated type, and would show the bare names.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, WithJsonSchema

from prefect_cvat.auto_annotation.loading import function_names

__all__ = [
    "DetectionFunctionName",
    "InteractionFunctionName",
    "OptionalFunction",
    "TrackFunctionName",
    "form",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def form(function: Function) -> Function:
    """Give the parameters of a flow titles like those of the options: `Function parameters`, `Task`."""
    hints = get_type_hints(function, include_extras=True)
    for name, hint in hints.items():
        if name != "return":
            title = name.removesuffix("_id").replace("_", " ").capitalize()
            hints[name] = Annotated[hint, Field(json_schema_extra={"title": title})]
    function.__annotations__ = hints
    return function


def _choice_of(is_listed: Callable[[str], bool], *more: str) -> WithJsonSchema:
    """A list of functions; or the name of a module, which the worker may allow."""
    listed = [*more, *filter(is_listed, function_names())]
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": listed, "title": "From the list"},
                {"type": "string", "title": "Module"},
            ]
        }
    )


def _is_tracking(name: str) -> bool:
    return name.endswith("_tracking")


def _is_interaction(name: str) -> bool:
    return name.endswith("_interaction")


def _is_detection(name: str) -> bool:
    """Whether a function may detect; of registered functions that is unknown."""
    return not _is_tracking(name) and not _is_interaction(name)


DetectionFunctionName = Annotated[str, _choice_of(_is_detection)]
TrackFunctionName = Annotated[str, _choice_of(lambda name: not _is_interaction(name))]
InteractionFunctionName = Annotated[str, _choice_of(_is_interaction)]
OptionalFunction = Annotated[str, _choice_of(_is_detection, "")]
