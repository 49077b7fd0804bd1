"""The record of a function, as Nuclio has it, and what CVAT shows of it."""

import json
from dataclasses import dataclass
from typing import Any

from prefect_cvat.sandbox.api.reply import Json

KINDS = ("detector", "interactor", "tracker", "reid")


class UnusableFunctionError(ValueError):
    """A record that CVAT leaves out of the list of functions."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that annotators can call.

    Attributes:
        name: Its id.
        kind: One of `KINDS`.
        labels: The labels that it can find, as CVAT shows them.
        port: The port of the function; None without one.
        shape_types: What a tracker can track; None for one that gets bare coordinates of rectangles.
        shown: What the API shows.
    """

    name: str
    kind: str
    labels: list[Json]
    port: Any
    shape_types: list[str] | None
    shown: Json


def read_function(record: Any) -> Function:
    """Read a record, as strictly as CVAT 2.73.

    Raises:
        UnusableFunctionError: CVAT leaves it out of lists.
        KeyError, TypeError, ValueError, AttributeError: CVAT answers 500, also for a list with this record.
    """
    name, notes = record["metadata"]["name"], record["metadata"]["annotations"]
    kind = notes.get("type")
    if kind not in KINDS:
        raise UnusableFunctionError(f"{name!r} has the type {kind!r}")
    labels = [_label(label) for label in json.loads(notes.get("spec") or "[]")]
    _check_unique([label["name"] for label in labels])
    shape_types = _shape_types(notes.get("supported_shape_types"))
    shown = {
        "id": name,
        "kind": kind,
        "labels_v2": labels,
        "description": record["spec"]["description"],
        "name": notes.get("name", name),
        "version": int(notes.get("version", "1")),
    }
    if kind == "interactor":
        shown |= {
            "min_pos_points": int(notes.get("min_pos_points", 1)),
            "min_neg_points": int(notes.get("min_neg_points", -1)),
            "startswith_box": bool(notes.get("startswith_box", False)),
            "startswith_box_optional": bool(notes.get("startswith_box_optional", False)),
            "help_message": notes.get("help_message", ""),
            "animated_gif": notes.get("animated_gif", ""),
        }
    elif kind == "tracker":
        shown["supported_shape_types"] = ["rectangle"] if shape_types is None else shape_types
    return Function(
        name=name,
        kind=kind,
        labels=labels,
        port=record["status"].get("httpPort"),
        shape_types=shape_types,
        shown=shown,
    )


def _label(label: Json) -> Json:
    shown = _sublabel(label)
    if shown["type"] == "skeleton":
        shown["sublabels"] = [_sublabel(sublabel) for sublabel in label["sublabels"]]
        shown["svg"] = label["svg"]
    return shown


def _sublabel(label: Json) -> Json:
    attributes = [
        {name: attribute[name] for name in ("name", "input_type", "values")}
        for attribute in label.get("attributes", [])
    ]
    _check_unique([attribute["name"] for attribute in attributes])
    return {"name": label["name"], "type": label.get("type", "any"), "attributes": attributes}


def _check_unique(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise UnusableFunctionError(f"a name is there twice: {', '.join(names)}")


def _shape_types(text: str | None) -> list[str] | None:
    if text is None:
        return None
    types = [word.strip() for word in text.split(",") if word.strip()]
    if not types:
        raise UnusableFunctionError("no types of shapes are supported")
    return types
