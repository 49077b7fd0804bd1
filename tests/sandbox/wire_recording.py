"""Reads recorded exchanges with CVAT, and selects what two responses must have in common."""

import io
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = Path(os.environ.get("PREFECT_CVAT_WIRE") or Path(__file__).parents[3] / "shared" / "wire")
COMPARED_HEADERS = (
    "content-type",
    "www-authenticate",
    "accept-ranges",
    "content-range",
    "content-encoding",
    "x-checksum",
    "x-updated-date",
    "x-request-id",
    "location",
)
# Both sides have to have these, but not with the same value.
PRESENT_ONLY = ("x-checksum", "x-updated-date", "x-request-id", "location", "content-range")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_URL = re.compile(r"^https?://[^/]+")
_ID_KEYS = frozenset(
    {"id", "task_id", "job_id", "project_id", "parent_id", "parent_job_id", "webhook_id"}
    | {"data", "organization", "organization_id"}
)
_SECRET_KEYS = frozenset({"key", "value"})


@dataclass(frozen=True)
class Exchange:
    number: str
    label: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def route(self) -> str:
        """The path without numbers."""
        return re.sub(r"(?<=/)\d+|(?<=_id%3D)\d+", "N", self.request["path"])


def load() -> list[Exchange]:
    if not FOLDER.is_dir():
        return []
    exchanges = []
    for path in sorted(FOLDER.glob("[0-9]*.json")):
        recorded = json.loads(path.read_text())
        if "request" in recorded:
            exchanges.append(
                Exchange(path.name[:3], recorded["label"], recorded["request"], recorded["response"])
            )
    return exchanges


def load_received_webhooks() -> list[dict[str, Any]]:
    """The headers and the body of each request that the recorded server's webhook sent."""
    received: list[dict[str, Any]] = json.loads((FOLDER / "webhook-received.json").read_text())
    return received


def body_of(content: bytes, content_type: str | None) -> Any:
    """A body in the form of the recording."""
    if not content:
        return None
    if content_type == "application/vnd.cvat+json":
        return {"json": json.loads(content)}
    if (content_type or "").startswith("text/"):
        return {"text": content.decode()}
    described: dict[str, Any] = {"content_type": content_type, "length": len(content)}
    if content_type == "application/zip" and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            described["zip"] = [
                {
                    "name": member.filename,
                    "size": member.file_size,
                    "compress_type": member.compress_type,
                    "image": _image(archive.read(member)),
                }
                for member in archive.infolist()
            ]
    elif (content_type or "").startswith("image/"):
        described["image"] = _image(content)
    return {"binary": described}


def comparable(body: Any, *, route: str, label_ids: dict[int, int] | None = None) -> Any:
    """A body without values that differ between equal servers.

    Ids become a sign, dates too; addresses lose the host and the numbers. Ids of labels and attributes stay,
    mapped, so that it shows when an annotation comes back with another label. Where CVAT leaves an order
    open, both sides get the same one.
    """
    if body is None:
        return None
    if "json" in body:
        return {"json": _plain(body["json"], route, label_ids or {})}
    if "binary" in body:
        described = dict(body["binary"])
        described.pop("length", None)
        if "zip" in described:
            described["zip"] = [{k: v for k, v in m.items() if k != "size"} for m in described["zip"]]
        return {"binary": described}
    return body


def outline(value: Any) -> Any:
    """A body with the types of its values in their places."""
    if isinstance(value, dict):
        return {name: outline(item) for name, item in value.items()}
    if isinstance(value, list):
        return [outline(item) for item in value]
    return type(value).__name__


def _plain(value: Any, route: str, ids: dict[int, int], key: str = "") -> Any:
    if isinstance(value, dict):
        plain = {name: _plain(item, route, ids, name) for name, item in value.items()}
        if "annotations" in route and "version" in plain:
            for name in ("tags", "shapes", "tracks"):
                if isinstance(plain.get(name), list):
                    plain[name] = sorted(plain[name], key=_order)
        if "frame" in plain and isinstance(plain.get("elements"), list) and "id" in plain:
            plain["elements"] = sorted(plain["elements"], key=_order)
        if "about" in route:
            # The sandbox describes itself; only the version is the same.
            plain = {name: item if name == "version" else type(item) for name, item in plain.items()}
        if isinstance(plain.get("status"), str) and "/requests" in route:
            plain = _settled(plain)
        if isinstance(plain.get("sublabels"), list):
            plain["sublabels"] = sorted(plain["sublabels"], key=lambda item: item["name"])
        return plain
    if isinstance(value, list):
        return [_plain(item, route, ids, key) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if key == "request_duration":
            return "<milliseconds>"
        if key in ("label_id", "spec_id"):
            return ids.get(value, value)
        return "<id>" if key in _ID_KEYS else value
    if isinstance(value, str):
        if key == "email" or (key == "color" and value != "#ff0000"):
            # Given by no request, except for that one colour.
            return f"<{key}>"
        if key in _SECRET_KEYS and "auth" in route:
            return "<secret>"
        if key in ("next", "previous"):
            # Which tasks a filter is about differs, how many pages there are does not.
            value = re.sub(r"task_id=\d+", "task_id=N", value)
        elif key != "name" and (_URL.match(value) or "target_id=" in value):
            value = re.sub(r"(?<=[/=])\d+", "N", value)
        if key == "svg":
            value = re.sub(r'data-label-id="\d+"', 'data-label-id="N"', value)
        value = re.sub(r"(spec_id|label_id) `\d+`", r"\1 `N`", value)
        value = re.sub(r"Key \(id\)=\(\d+\)", "Key (id)=(N)", value)
        return _DATE.sub("<date>", _URL.sub("<host>", value))
    return value


def _settled(request: dict[str, Any]) -> dict[str, Any]:
    """A request that is on its way may have got further here than there."""
    if request["status"] in ("queued", "started", "finished"):
        moving = ("status", "message", "started_date", "finished_date", "expiry_date")
        return {**request, **dict.fromkeys(moving, "<on its way>")}
    return request


def _order(item: dict[str, Any]) -> str:
    parts = (f"{item.get('frame', 0):09}", item.get("label_id"), item.get("type"), item.get("points"))
    return json.dumps([*parts, {k: v for k, v in item.items() if k != "elements"}], sort_keys=True)


def _image(content: bytes) -> list[Any]:
    with Image.open(io.BytesIO(content)) as image:
        return [image.format, *image.size]
