"""Validation of an annotations body, with CVAT's error messages.

What CVAT does not check is not checked here either: whether the type of a shape fits its label, points
outside the image, values outside the list of a select attribute, missing or repeated elements of a skeleton,
the run lengths of a mask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_cvat.sandbox.api import field_checks
from prefect_cvat.sandbox.api.field_checks import REQUIRED, FieldError
from prefect_cvat.sandbox.api.reply import Json, bad_request, server_error

SHAPE_TYPES = ("rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
_POINTS_OK: Mapping[str, Callable[[int], bool]] = {
    "rectangle": lambda count: count == 4,
    "ellipse": lambda count: count == 4,
    "cuboid": lambda count: count == 16,
    # CVAT 2.73 also accepts a mask without a pixel, [1, x, y, x, y].
    "mask": lambda count: count >= 5,
    "polygon": lambda count: count >= 6 and count % 2 == 0,
    "polyline": lambda count: count >= 4 and count % 2 == 0,
    "points": lambda count: count >= 2 and count % 2 == 0,
    "skeleton": lambda count: count == 0,
}
_Check = Callable[[Any], Any]
_GEOMETRY: Mapping[str, tuple[_Check, Any]] = {
    "type": (field_checks.choice(SHAPE_TYPES), ...),
    "occluded": (field_checks.boolean, False),
    "outside": (field_checks.boolean, False),
    "z_order": (field_checks.integer, 0),
    "rotation": (field_checks.number_within(0, 360), 0),
    "points": (field_checks.points, None),
}
_IDENTITY: Mapping[str, tuple[_Check, Any]] = {
    "id": (field_checks.integer, None),
    "label_id": (field_checks.natural, ...),
    "group": (field_checks.group, 0),
    "source": (field_checks.source, "manual"),
    "frame": (field_checks.natural, ...),
}
_SHAPE: Mapping[str, tuple[_Check, Any]] = {
    **_GEOMETRY,
    **_IDENTITY,
    "score": (field_checks.number_within(0, 1), 1),
    "attributes": (field_checks.attributes, ()),
}
_TAG: Mapping[str, tuple[_Check, Any]] = {**_IDENTITY, "attributes": (field_checks.attributes, ())}
_TRACKED_SHAPE: Mapping[str, tuple[_Check, Any]] = {
    **_GEOMETRY,
    "id": (field_checks.integer, None),
    "frame": (field_checks.natural, ...),
    "attributes": (field_checks.attributes, ()),
}


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """A valid body, with default values filled in."""

    tags: list[Json]
    shapes: list[Json]
    tracks: list[Json]


def validate_annotations(body: Any, *, new: bool, known: bool = False) -> Annotations:
    """Validate an annotations body.

    Args:
        body: The body of the request.
        new: Whether all annotations are to be created, so ids must be absent.
        known: Whether all annotations are to be deleted, so ids are required.

    Raises:
        ApiError: 400 with the errors at the positions of the annotations; 500 where CVAT 2.73 fails.
    """
    if isinstance(body, list):
        raise server_error()  # as CVAT 2.73
    try:
        content = field_checks.mapping(body)
    except FieldError as error:
        raise bad_request(error.body) from None
    errors: Json = {}
    accepted: dict[str, list[Json]] = {}
    for name, check in (("tags", _tag), ("shapes", _shape), ("tracks", _track)):
        try:
            accepted[name] = _each(content.get(name, []), check, new=new)
            if known:
                _require_ids(accepted[name])
        except FieldError as error:
            errors[name] = error.body
    if errors:
        raise bad_request(errors)
    return Annotations(**accepted)


def _require_ids(items: list[Json]) -> None:
    errors = [{} if item.get("id") is not None else {"id": [REQUIRED]} for item in items]
    if any(errors):
        raise FieldError(errors)


def _each(value: Any, check: Callable[[Any, bool], Json], *, new: bool) -> list[Json]:
    items = field_checks.list_of_items(value)
    kept: list[Json] = []
    errors: dict[int, Any] = {}
    for index, item in enumerate(items):
        try:
            kept.append(check(item, new))
        except FieldError as error:
            errors[index] = error.body
    if errors:
        raise FieldError([errors.get(index, {}) for index in range(len(items))])
    return kept


def _read(value: Any, table: Mapping[str, tuple[_Check, Any]], new: bool) -> Json:
    item = field_checks.mapping(value)
    kept: Json = {}
    errors: Json = {}
    for name, (check, default) in table.items():
        if name in item:
            try:
                kept[name] = check(item[name])
            except FieldError as error:
                # A missing id may also be written as null.
                if name != "id" or item[name] is not None:
                    errors[name] = error.body
        elif default is ...:
            errors[name] = [REQUIRED]
        elif default == ():
            kept[name] = []
        elif default is not None:
            kept[name] = default
    if errors:
        raise FieldError(errors)
    if new and kept.get("id") is not None:
        raise FieldError({"id": ["must be absent"]})
    return kept


def _tag(value: Any, new: bool) -> Json:
    return _read(value, _TAG, new)


def _shape(value: Any, new: bool) -> Json:
    shape = _geometry(_read(value, _SHAPE, new))
    elements = value.get("elements")
    if shape["type"] == "skeleton":
        if not elements:
            raise FieldError({"elements": ["at least one required for skeleton shape"]})
        shape["elements"] = _elements(elements, _element, new)
    elif elements is not None:
        shape["elements"] = _elements(elements, _element, new)
    return shape


def _element(value: Any, new: bool) -> Json:
    return _geometry(_read(value, _SHAPE, new))


def _track(value: Any, new: bool) -> Json:
    track = _track_without_elements(value, new)
    track["elements"] = _elements(value.get("elements") or [], _track_without_elements, new)
    return track


def _track_without_elements(value: Any, new: bool) -> Json:
    track = _read(value, _TAG, new)
    if "shapes" not in value:
        raise server_error()  # as CVAT 2.73, which accepts an empty list
    try:
        track["shapes"] = _each(
            value["shapes"], lambda item, _: _geometry(_read(item, _TRACKED_SHAPE, False)), new=new
        )
    except FieldError as error:
        raise FieldError({"shapes": error.body}) from None
    return track


def _elements(value: Any, check: Callable[[Any, bool], Json], new: bool) -> list[Json]:
    try:
        return _each(value, check, new=new)
    except FieldError as error:
        raise FieldError({"elements": error.body}) from None


def _geometry(shape: Json) -> Json:
    kind = shape["type"]
    if not _POINTS_OK[kind](len(shape.get("points", ()))):
        raise FieldError({"points": [f"invalid length for shape type '{kind}'"]})
    if kind == "skeleton":
        shape.pop("points", None)
    return shape
