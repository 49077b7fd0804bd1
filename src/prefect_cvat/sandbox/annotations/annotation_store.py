"""Annotations in the database. They are stored as the JSON that a read returns."""

import math
from collections.abc import Iterable, Iterator, Sequence

from pydantic_core import from_json, to_json

from prefect_cvat.sandbox.annotations.annotation_body import Annotations
from prefect_cvat.sandbox.api.reply import Json, bad_request
from prefect_cvat.sandbox.storage.database import Connection, Row, take_ids
from prefect_cvat.sandbox.tasks.labels import attributes_by_label

TABLES = ("tag", "shape", "track")

_SKELETON, _NOT_FINITE = 1, 2
"""What is wrong with a shape, in the column `poison`; 0 for nothing."""


class Labels:
    """The labels and attributes of a task."""

    def __init__(self, db: Connection, task: Row) -> None:
        self._specs = attributes_by_label(db, task)

    def checked(self, item: Json, *, mutable: bool | None = None, label_id: int | None = None) -> list[Json]:
        """The attributes of an annotation as CVAT stores them: the given ones, then the other defaults.

        Args:
            item: A tag, a shape, a track or a keyframe.
            mutable: Whether mutable or immutable attributes are allowed; None for both.
            label_id: The label of a keyframe, which has no label of its own.

        Raises:
            ApiError: 400 if the task does not have the label or an attribute.
        """
        number = item["label_id"] if label_id is None else label_id
        specs = self._specs.get(number)
        if specs is None:
            raise bad_request([f"label_id `{number}` is invalid"])
        sent: list[Json] = item["attributes"]
        if not specs and not sent:
            return []
        known = {
            spec["id"]: spec["default_value"] for spec in specs if mutable in (None, bool(spec["mutable"]))
        }
        given = set()
        for attribute in sent:
            if attribute["spec_id"] not in known:
                raise bad_request([f"spec_id `{attribute['spec_id']}` is invalid"])
            given.add(attribute["spec_id"])
        return [
            *sent,
            *({"spec_id": spec, "value": value} for spec, value in known.items() if spec not in given),
        ]


def insert(db: Connection, job_id: int, annotations: Annotations, labels: Labels) -> Annotations:
    """Add annotations to a job. Those without an id get a new one.

    Returns:
        The response of a write: the annotations with ids and defaults.

    Raises:
        ApiError: 400 if a label or an attribute is unknown, or an id is already in use.
    """
    for table, sent in zip(TABLES, (annotations.tags, annotations.shapes, annotations.tracks), strict=True):
        _reject_existing_ids(db, table, sent)
    tags, shapes = _with_ids(db, "tag", annotations.tags), _with_ids(db, "shape", annotations.shapes)
    elements = [element for shape in shapes for element in shape.get("elements", ())]
    for element, number in zip(elements, _new_ids(db, "shape", elements), strict=True):
        element["id"] = number
    tracks = _with_ids(db, "track", annotations.tracks)
    _number_tracked_shapes(db, tracks)
    db.executemany(
        "INSERT INTO tag VALUES (?, ?, ?, ?, ?)",
        (
            (tag["id"], job_id, tag["frame"], tag["label_id"], to_json(_stored_tag(tag, labels)))
            for tag in tags
        ),
    )
    db.executemany(
        "INSERT INTO shape VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                shape["id"],
                job_id,
                shape["frame"],
                shape["label_id"],
                _fault_of(shape),
                to_json(_stored_shape(shape, labels)),
            )
            for shape in shapes
        ),
    )
    db.executemany(
        "INSERT INTO track VALUES (?, ?, ?, ?, ?)",
        (
            (
                track["id"],
                job_id,
                track["frame"],
                track["label_id"],
                to_json(_stored_track(track, labels)),
            )
            for track in tracks
        ),
    )
    for shape in shapes:
        shape.setdefault("elements", [])
    return Annotations(tags=tags, shapes=shapes, tracks=tracks)


def delete(db: Connection, job_id: int, annotations: Annotations) -> None:
    """Delete annotations of a job by their ids. Unknown ids are ignored."""
    for table, items in zip(TABLES, (annotations.tags, annotations.shapes, annotations.tracks), strict=True):
        db.executemany(
            f"DELETE FROM {table} WHERE id = ? AND job_id = ?",  # noqa: S608 - one of three constants
            ((item["id"], job_id) for item in items if item.get("id") is not None),
        )


def delete_one(db: Connection, table: str, job_id: int, number: int) -> None:
    """Delete a tag, a shape or a track of a job by its id."""
    db.execute(f"DELETE FROM {table} WHERE id = ? AND job_id = ?", (number, job_id))  # noqa: S608


def clear(db: Connection, job_ids: Iterable[int]) -> set[int]:
    """Delete all annotations of jobs, and return the ids of the jobs that had any."""
    return {
        number
        for number in job_ids
        for table in TABLES
        if db.execute(f"DELETE FROM {table} WHERE job_id = ?", (number,)).rowcount  # noqa: S608
    }


def has_unreadable_skeleton(db: Connection, job_ids: Sequence[int]) -> bool:
    """Whether a job has a skeleton with an element on another frame, which CVAT 2.73 cannot read."""
    return _has_fault(db, job_ids, _SKELETON)


def has_infinite_numbers(db: Connection, job_ids: Sequence[int]) -> bool:
    """Whether a job has NaN or an infinite number, which CVAT 2.73 stores but cannot send as JSON."""
    return _has_fault(db, job_ids, _NOT_FINITE)


def _has_fault(db: Connection, job_ids: Sequence[int], fault: int) -> bool:
    return any(
        db.execute("SELECT 1 FROM shape WHERE job_id = ? AND poison = ? LIMIT 1", (number, fault)).fetchone()
        for number in job_ids
    )


def _fault_of(shape: Json) -> int:
    elements = shape.get("elements", ())
    if any(element["frame"] != shape["frame"] for element in elements):
        return _SKELETON
    numbers = (number for part in (shape, *elements) for number in part.get("points", ()))
    return 0 if all(map(math.isfinite, numbers)) else _NOT_FINITE


def bodies(db: Connection, table: str, job_id: int, frames: tuple[int, int] | None = None) -> list[bytes]:
    """The stored JSON of the annotations of a job, ordered by frame, optionally of a range of frames."""
    if frames is None:
        rows = db.execute(
            f"SELECT body FROM {table} WHERE job_id = ? ORDER BY frame, id",  # noqa: S608
            (job_id,),
        )
    else:
        rows = db.execute(
            f"SELECT body FROM {table} WHERE job_id = ? AND frame BETWEEN ? AND ? ORDER BY frame, id",  # noqa: S608
            (job_id, *frames),
        )
    return [row["body"] for row in rows]


def items(db: Connection, table: str, job_id: int, frames: tuple[int, int] | None = None) -> list[Json]:
    """As `bodies`, parsed."""
    return [from_json(body) for body in bodies(db, table, job_id, frames)]


def _with_ids(db: Connection, name: str, sent: list[Json]) -> list[Json]:
    # Copies, because a shape on a frame of two jobs is written twice, with different ids.
    copies = [
        {**item, "elements": [{**element} for element in item["elements"]]}
        if "elements" in item
        else {**item}
        for item in sent
    ]
    for item, number in zip(copies, _new_ids(db, name, copies), strict=True):
        item["id"] = number
    return copies


def _reject_existing_ids(db: Connection, table: str, sent: list[Json]) -> None:
    given = [item["id"] for item in sent if item.get("id") is not None]
    seen: set[int] = set()
    for number in given:
        row = db.execute(f"SELECT 1 FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
        if row or number in seen:
            raise bad_request(
                f'duplicate key value violates unique constraint "engine_labeled{table}_pkey"\n'
                f"DETAIL:  Key (id)=({number}) already exists.\n"
            )
        seen.add(number)


def _new_ids(db: Connection, name: str, sent: list[Json]) -> list[int]:
    missing = sum(item.get("id") is None for item in sent)
    fresh = iter(take_ids(db, name, missing)) if missing else iter(())
    return [next(fresh) if item.get("id") is None else item["id"] for item in sent]


def _number_tracked_shapes(db: Connection, tracks: list[Json]) -> None:
    elements = [element for track in tracks for element in track.get("elements", ())]
    for element, number in zip(elements, _new_ids(db, "track", elements), strict=True):
        element["id"] = number
    for track in [*tracks, *elements]:
        numbers = take_ids(db, "tracked_shape", len(track["shapes"])) if track["shapes"] else ()
        track["shapes"] = [
            {**shape, "id": number} for shape, number in zip(track["shapes"], numbers, strict=True)
        ]


def _stored_tag(tag: Json, labels: Labels) -> Json:
    return {
        "id": tag["id"],
        "label_id": tag["label_id"],
        "frame": tag["frame"],
        "group": tag["group"],
        "source": tag["source"],
        "attributes": labels.checked(tag),
    }


def _stored_shape(shape: Json, labels: Labels) -> Json:
    stored = _stored_element(shape, labels)
    stored["elements"] = [_stored_element(element, labels) for element in shape.get("elements", ())]
    return stored


def _stored_element(shape: Json, labels: Labels) -> Json:
    return {
        "id": shape["id"],
        "label_id": shape["label_id"],
        "type": shape["type"],
        "frame": shape["frame"],
        "group": shape["group"],
        "source": shape["source"],
        "score": float(shape["score"]),
        "occluded": shape["occluded"],
        "outside": shape["outside"],
        "z_order": shape["z_order"],
        "rotation": float(shape["rotation"]),
        "points": list(map(float, shape.get("points", ()))),
        "attributes": labels.checked(shape),
    }


def _stored_track(track: Json, labels: Labels) -> Json:
    stored = {
        "id": track["id"],
        "label_id": track["label_id"],
        "frame": track["frame"],
        "group": track["group"],
        "source": track["source"],
        "shapes": list(_stored_keyframes(track, labels)),
        "attributes": labels.checked(track, mutable=False),
    }
    if "elements" in track:
        stored["elements"] = [_stored_track(element, labels) for element in track["elements"]]
    return stored


def _stored_keyframes(track: Json, labels: Labels) -> Iterator[Json]:
    before: dict[int, Json] = {}
    for shape in sorted(track["shapes"], key=lambda shape: int(shape["frame"])):
        own = {item["spec_id"] for item in shape["attributes"]}
        checked = labels.checked(shape, mutable=True, label_id=track["label_id"])
        # CVAT 2.73: a keyframe inherits missing attributes from the previous one.
        attributes = [
            item if item["spec_id"] in own else before.get(item["spec_id"], item) for item in checked
        ]
        before = {item["spec_id"]: item for item in attributes}
        yield {
            "id": shape["id"],
            "type": shape["type"],
            "frame": shape["frame"],
            "occluded": shape["occluded"],
            "outside": shape["outside"],
            "z_order": shape["z_order"],
            "rotation": float(shape["rotation"]),
            "points": list(map(float, shape.get("points", ()))),
            "attributes": attributes,
        }
