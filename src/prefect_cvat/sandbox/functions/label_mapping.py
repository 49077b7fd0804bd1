"""The mapping from the labels of a function to those of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_cvat.sandbox.api.reply import ApiError, Json


@dataclass(frozen=True, kw_only=True)
class LabelTarget:
    """A label of a task.

    Attributes:
        label: The label, as the API shows it.
        attributes: Its attributes, by the names of the function.
        sublabels: The keypoints of a skeleton, by the names of the function.
    """

    label: Json
    attributes: Mapping[str, Json]
    sublabels: Mapping[str, "LabelTarget"] = field(default_factory=dict)


LabelMapping = Mapping[str, LabelTarget]
"""Labels of a task by the names of the function; what is not in it is dropped."""


def map_labels(function: Sequence[Json], task: Sequence[Json], given: Any) -> LabelMapping:
    """Make the mapping of a call.

    Args:
        function: The labels of the function.
        task: The labels of the task.
        given: What the caller sent; None and {} map equal names of types that fit.

    Raises:
        ApiError: 400 if a name is unknown, or two types do not fit.
        TypeError: An entry is not an object; CVAT answers 500.
    """
    if given:
        return _given_mapping(function, task, given)
    return _by_name(function, task)


def _by_name(function: Sequence[Json], task: Sequence[Json]) -> LabelMapping:
    by_name = {label["name"]: label for label in task}
    return {
        own["name"]: LabelTarget(
            label=label,
            attributes=_equal_attributes(own, label),
            sublabels=_by_name(own.get("sublabels", ()), label.get("sublabels", ())),
        )
        for own in function
        if (label := by_name.get(own["name"])) is not None and _do_types_fit(own["type"], label["type"])
    }


def _equal_attributes(own: Json, label: Json) -> Mapping[str, Json]:
    names = {attribute["name"] for attribute in own["attributes"]}
    return {each["name"]: each for each in label["attributes"] if each["name"] in names}


def _given_mapping(function: Sequence[Json], task: Sequence[Json], given: Mapping[str, Any]) -> LabelMapping:
    mapping = {}
    for name, entry in given.items():
        own = _find(function, name, "model label")
        label = _find(task, entry["name"], "db label")
        if not _do_types_fit(own["type"], label["type"]):
            raise _invalid(f'Model label "{name}" and database label "{label["name"]}" are not compatible')
        attributes = {
            of_model: _find(label["attributes"], of_task, "db attribute")
            for of_model, of_task in entry.get("attributes", {}).items()
            if _find(own["attributes"], of_model, "model attribute")
        }
        sublabels = _given_mapping(
            own.get("sublabels", ()), label.get("sublabels", ()), entry.get("sublabels", {})
        )
        mapping[name] = LabelTarget(label=label, attributes=attributes, sublabels=sublabels)
    return mapping


def _find(items: Sequence[Json], name: str, what: str) -> Json:
    for item in items:
        if item["name"] == name:
            return item
    raise _invalid(f'Unknown {what} "{name}"')


def _invalid(reason: str) -> ApiError:
    return ApiError(400, f"Invalid mapping. {reason}")


def _do_types_fit(of_function: str, of_task: str) -> bool:
    types = {of_function, of_task}
    if "any" in types:
        return "skeleton" not in types
    return of_function == of_task or types == {"mask", "polygon"}
