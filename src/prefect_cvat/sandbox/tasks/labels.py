"""Routes of labels, with their attributes and the sublabels of skeletons."""

import hashlib
import json
import re
from typing import Any, NamedTuple

from prefect_cvat.sandbox.accounts.permissions import job_of, project_of, task_of, workspace
from prefect_cvat.sandbox.api import lists
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json, Reply, bad_request, forbidden, not_found, server_error
from prefect_cvat.sandbox.storage.database import Connection, Row

_TYPES = frozenset(
    {
        "any",
        "cuboid",
        "ellipse",
        "mask",
        "points",
        "polygon",
        "polyline",
        "rectangle",
        "skeleton",
        "tag",
        "interval",
    }
)


class _LabelOwner(NamedTuple):
    """The task or project whose labels are requested, and its organization."""

    task_id: int | None
    project_id: int | None
    organization_id: int | None


def list_labels(call: Call) -> Reply:
    """GET labels of a task, a job or a project. As in CVAT 2.73, an unknown task is a 500."""
    chosen = [name for name in ("job_id", "task_id", "project_id") if name in call.query]
    if len(chosen) > 1:
        raise bad_request(["job_id, task_id and project_id parameters cannot be used together"])
    with call.state.database.read() as db:
        if not chosen:
            rows = db.execute("SELECT * FROM label WHERE parent_id IS NULL ORDER BY id").fetchall()
            rows = rows if call.user.is_superuser else []
        else:
            owner = _label_owner(call, db, chosen[0])
            rows = _rows_of(db, task_id=owner.task_id, project_id=owner.project_id)
            space = workspace(call, db)
            if space.limited and space.organization_id != owner.organization_id:
                rows = []
        rows = lists.filtered(call, rows, ("id", "name", "color", "type"))
        return lists.page(call, rows, lambda row: _label(db, row))


def get_label(call: Call) -> Reply:
    """GET labels/ID."""
    with call.state.database.read() as db:
        return Reply(json=_label(db, _label_of(call, db)))


def update_label(call: Call) -> Reply:
    """PATCH labels/ID: changes name, color and type."""
    body = call.json_object()
    with call.state.database.write() as db:
        row = _label_of(call, db)
        _change(db, row["id"], body)
        return Reply(json=_label(db, _label_of(call, db)))


def delete_label(call: Call) -> Reply:
    """DELETE labels/ID."""
    with call.state.database.write() as db:
        db.execute("DELETE FROM label WHERE id = ?", (_label_of(call, db)["id"],))
    return Reply(status=204, content=b"", media_type=None)


def change_labels(
    db: Connection, labels: Any, *, task_id: int | None = None, project_id: int | None = None
) -> None:
    """Add, change (entries with an id) and remove (entries with `deleted`) labels of a task or project."""
    if not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        raise bad_request({"labels": ["Expected a list of labels."]})
    known = {row["id"] for row in _rows_of(db, task_id=task_id, project_id=project_id)}
    for label in labels:
        number = label.get("id")
        if number is None:
            add_labels(db, [label], task_id=task_id, project_id=project_id)
        elif number not in known:
            raise bad_request({"labels": [f"Not found label with id #{number} to change"]})
        elif label.get("deleted"):
            db.execute("DELETE FROM label WHERE id = ?", (number,))
        else:
            _change(db, number, label)


def add_labels(
    db: Connection, labels: Any, *, task_id: int | None = None, project_id: int | None = None
) -> None:
    """Add the labels in the body of a new task or project.

    Raises:
        ApiError: 400 if a label has no name, an unknown type, or the name of another label.
    """
    if not isinstance(labels, list):
        raise bad_request({"labels": [f'Expected a list of items but got type "{type(labels).__name__}".']})
    names = [row["name"] for row in _rows_of(db, task_id=task_id, project_id=project_id)]
    errors = [_errors(label) for label in labels]
    if any(errors):
        raise bad_request({"labels": errors})
    for label in labels:
        if label["name"] in names:
            raise bad_request({"labels": [f"All label names must be unique, got {label['name']!r} twice"]})
        names.append(label["name"])
        _add(db, label, task_id, project_id, None)


def labels_of_task(db: Connection, task: Row) -> list[Json]:
    """The labels of a task, or of its project, as the API shows them."""
    project_id = task["project_id"]
    rows = _rows_of(db, task_id=None if project_id else task["id"], project_id=project_id)
    return [_label(db, row) for row in rows]


def attributes_by_label(db: Connection, task: Row) -> dict[int, list[Row]]:
    """The attributes of each label and sublabel of a task, by label id."""
    column = "project_id" if task["project_id"] is not None else "task_id"
    owner = task["project_id"] if task["project_id"] is not None else task["id"]
    specs: dict[int, list[Row]] = {
        row["id"]: []
        for row in db.execute(f"SELECT id FROM label WHERE {column} = ?", (owner,))  # noqa: S608
    }
    for row in db.execute(
        f"SELECT attribute.* FROM attribute JOIN label ON label.id = label_id"  # noqa: S608
        f" WHERE label.{column} = ? ORDER BY attribute.id",
        (owner,),
    ):
        specs[row["label_id"]].append(row)
    return specs


def _label_owner(call: Call, db: Connection, name: str) -> _LabelOwner:
    try:
        number = int(call.query[name])
    except ValueError:
        raise server_error() from None
    if name == "project_id":
        project = project_of(call, db, number)
        return _LabelOwner(None, project["id"], project["organization_id"])
    if name == "job_id":
        job = job_of(call, db, number)
        return _LabelOwner(job["task_id"], job["project_id"], job["organization_id"])
    if db.execute("SELECT 1 FROM task WHERE id = ?", (number,)).fetchone() is None:
        raise server_error()
    task = task_of(call, db, number)
    return _LabelOwner(number, task["project_id"], task["organization_id"])


def _rows_of(db: Connection, *, task_id: int | None, project_id: int | None) -> list[Row]:
    if project_id is not None:
        return db.execute(
            "SELECT * FROM label WHERE project_id = ? AND parent_id IS NULL ORDER BY id", (project_id,)
        ).fetchall()
    return db.execute(
        "SELECT * FROM label WHERE task_id = ? AND parent_id IS NULL ORDER BY id", (task_id,)
    ).fetchall()


def _label_of(call: Call, db: Connection) -> Row:
    row: Row | None = db.execute("SELECT * FROM label WHERE id = ?", (call.path_id(),)).fetchone()
    if row is None:
        raise not_found("Label")
    if row["task_id"] is not None:
        task_of(call, db, row["task_id"])
    elif row["project_id"] is not None:
        project_of(call, db, row["project_id"])
    else:
        raise forbidden()
    return row


def _change(db: Connection, number: int, body: Json) -> None:
    for column in ("name", "color", "type"):
        if column in body:
            db.execute(f"UPDATE label SET {column} = ? WHERE id = ?", (str(body[column]), number))  # noqa: S608
    for attribute in body.get("attributes") or []:
        if "id" not in attribute:
            _add_attribute(db, number, attribute)


def _errors(label: Any) -> Json:
    if not isinstance(label, dict):
        return {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {type(label).__name__}."]}
    errors: Json = {}
    if not label.get("name"):
        errors["name"] = ["This field is required."]
    if label.get("type", "any") not in _TYPES:
        errors["type"] = [f'"{label["type"]}" is not a valid choice.']
    sublabels = [_errors(sublabel) for sublabel in label.get("sublabels") or []]
    if any(sublabels):
        errors["sublabels"] = sublabels
    return errors


def _add(
    db: Connection, label: Json, task_id: int | None, project_id: int | None, parent_id: int | None
) -> int:
    color = label.get("color") or "#" + hashlib.sha256(label["name"].encode()).hexdigest()[:6]
    number: int = db.execute(
        "INSERT INTO label (task_id, project_id, parent_id, name, color, type, svg)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (task_id, project_id, parent_id, label["name"], color, label.get("type") or "any", None),
    ).fetchone()["id"]
    for attribute in label.get("attributes") or []:
        _add_attribute(db, number, attribute)
    ids = {
        sublabel["name"]: _add(db, sublabel, task_id, project_id, number)
        for sublabel in label.get("sublabels") or []
    }
    if label.get("type") == "skeleton":
        svg = re.sub(
            r'data-label-name="([^"]*)"',
            lambda match: f'data-label-id="{ids.get(match[1], match[1])}"',
            label.get("svg") or "",
        )
        db.execute("UPDATE label SET svg = ? WHERE id = ?", (svg, number))
    return number


def _add_attribute(db: Connection, label_id: int, attribute: Json) -> None:
    missing = [name for name in ("name", "mutable", "input_type", "values") if name not in attribute]
    if missing:
        errors = {name: ["This field is required."] for name in missing}
        raise bad_request({"labels": [{"attributes": [errors]}]})
    choices = [str(value) for value in attribute["values"]] or [""]
    default = attribute.get("default_value")
    db.execute(
        "INSERT INTO attribute (label_id, name, mutable, input_type, default_value, choices)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            label_id,
            str(attribute["name"]),
            bool(attribute["mutable"]),
            str(attribute["input_type"]),
            choices[0] if default is None else str(default),
            json.dumps(choices),
        ),
    )


def _label(db: Connection, row: Row) -> Json:
    shown = _facts(db, row)
    children = db.execute("SELECT * FROM label WHERE parent_id = ? ORDER BY id", (row["id"],)).fetchall()
    shown["sublabels"] = [{**_facts(db, child), "has_parent": True} for child in children]
    if row["task_id"] is not None:
        shown["task_id"] = row["task_id"]
    if row["project_id"] is not None:
        shown["project_id"] = row["project_id"]
    shown |= {"parent_id": row["parent_id"], "has_parent": row["parent_id"] is not None}
    if row["svg"] is not None:
        shown["svg"] = row["svg"]
    return shown


def _facts(db: Connection, row: Row) -> Json:
    attributes = db.execute("SELECT * FROM attribute WHERE label_id = ? ORDER BY id", (row["id"],)).fetchall()
    return {
        "id": row["id"],
        "name": row["name"],
        "color": row["color"],
        "attributes": [
            {
                "id": attribute["id"],
                "name": attribute["name"],
                "mutable": bool(attribute["mutable"]),
                "input_type": attribute["input_type"],
                "default_value": attribute["default_value"],
                "values": json.loads(attribute["choices"]),
            }
            for attribute in attributes
        ],
        "type": row["type"],
    }
