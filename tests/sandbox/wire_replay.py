"""Replays a recording on a server, one exchange after another."""

import base64
import io
import json
import re
import time
from typing import Any
from urllib.parse import urlencode

import urllib3
from PIL import Image

from sandbox.wire_recording import COMPARED_HEADERS, PRESENT_ONLY, Exchange, body_of, comparable, outline

PASSWORD = "correct horse"
_USERS = {"bobby": ("forbidden", "org-task-by-outsider", "org-header-by-outsider"), "alice": ("org-",)}
_SESSIONS = ("sdk-connect-login", "login-ok-token", "gtpool-login")
_READ_ONLY_TOKEN = ("access-token-ro", "access-token-revoked")


class Replay:
    """Knows which ids of the recording are which here.

    Webhooks send to an address of this machine where the recorded ones sent to one of another.
    """

    def __init__(self, url: str, exchanges: list[Exchange], *, webhook_url: str) -> None:
        self._url = url
        self._webhook_url = webhook_url
        self._http = urllib3.PoolManager(retries=False)
        self._recording = exchanges
        self._ids: dict[tuple[str, int], int] = {}
        self.label_ids: dict[int, int] = {}
        self._cookies: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def send(self, exchange: Exchange, *, by_outline: bool = False) -> list[str]:
        """Sends one exchange's request and says how the answer differs from the recorded one.

        With `by_outline` only the types of the values in the body have to be the same.
        """
        response = self._request(exchange)
        if exchange.route == "/api/auth/login" and response.status == 200 and exchange.label in _SESSIONS:
            self._keep_session(response)
        body = body_of(response.data, response.headers.get("content-type"))
        body = self._finished(exchange, body)
        self._learn(exchange, body)
        return self._differences(exchange, response, body, by_outline)

    def log_in_again(self) -> None:
        """A new token for the administrator, after a logout."""
        response = self._http.request(
            "POST",
            f"{self._url}/api/auth/login",
            body=json.dumps({"username": "admin", "password": PASSWORD}),
            headers={"Content-Type": "application/json"},
        )
        self._tokens["session"] = json.loads(response.data)["key"]

    def prepare(self, path: str, body: dict[str, Any]) -> None:
        """Makes something that the recording has no request for, as the administrator."""
        response = self._http.request(
            "POST",
            self._url + path,
            body=json.dumps(body),
            headers={"Content-Type": "application/json", "Authorization": self._basic("admin")},
        )
        assert response.status == 201, response.data

    def give_skeleton(self, task_id: int, label_ids: tuple[int, int, int]) -> None:
        """Adds a skeleton label with two points to a task, and maps its ids to those of the recording."""
        number = self._ids["tasks", task_id]
        labels = [
            {
                "name": "figure",
                "type": "skeleton",
                "svg": "",
                "sublabels": [{"name": "head", "type": "points"}, {"name": "foot", "type": "points"}],
            }
        ]
        headers = {"Content-Type": "application/json", "Authorization": self._basic("admin")}
        changed = self._http.request(
            "PATCH", f"{self._url}/api/tasks/{number}", body=json.dumps({"labels": labels}), headers=headers
        )
        assert changed.status == 200, changed.data
        listed = self._http.request("GET", f"{self._url}/api/labels?task_id={number}", headers=headers)
        figure = json.loads(listed.data)["results"][-1]
        own = (figure["id"], *(sublabel["id"] for sublabel in figure["sublabels"]))
        self.label_ids.update(zip(label_ids, own, strict=True))

    def _request(self, exchange: Exchange) -> urllib3.BaseHTTPResponse:
        recorded = exchange.request
        headers = {}
        for name, value in recorded["headers"]:
            if name.lower() in ("host", "content-length", "user-agent", "origin", "cookie", "x-csrftoken"):
                continue
            headers[name] = value
        names = {name.lower(): value for name, value in recorded["headers"]}
        if "authorization" in names:
            headers["Authorization"] = self._authorization(exchange, names["authorization"])
        if "cookie" in names:
            stale = exchange.label.startswith("stale")
            pairs = [f"{k}={'stale' if stale else v}" for k, v in self._cookies.items()]
            headers["Cookie"] = "; ".join(pairs)
        if "x-csrftoken" in names:
            headers["X-CSRFToken"] = self._cookies["csrftoken"]
        if "origin" in names:
            headers["Origin"] = self._url if "127.0.0.1" in names["origin"] else names["origin"]
        query = [(name, self._mapped_query(name, value)) for name, value in recorded["query"]]
        target = self._url + self._path(recorded["path"]) + (f"?{urlencode(query)}" if query else "")
        body, content_type = self._body(exchange)
        if content_type:
            headers["Content-Type"] = content_type
        # Without this urllib3 would add an Accept-Encoding of its own.
        headers.setdefault("Accept-Encoding", "identity")
        return self._http.request(recorded["method"], target, body=body, headers=headers)

    def _authorization(self, exchange: Exchange, recorded: str) -> str:
        if exchange.label in ("bad-token-401", "bad-basic-401", "bad-bearer-401"):
            return {"Basic": "Basic " + base64.b64encode(b"admin:wrong").decode()}.get(
                recorded.split()[0], f"{recorded.split()[0]} wrong"
            )
        match recorded.split()[0]:
            case "Token":
                return f"Token {self._tokens['session']}"
            case "Bearer":
                read_only = exchange.label.startswith(_READ_ONLY_TOKEN)
                return f"Bearer {self._tokens['read-only' if read_only else 'read-write']}"
        name = next((user for user, labels in _USERS.items() if exchange.label.startswith(labels)), "admin")
        return self._basic(name)

    def _basic(self, name: str) -> str:
        return "Basic " + base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()

    def _path(self, path: str) -> str:
        def mapped(match: re.Match[str]) -> str:
            kind, number = match[1], int(match[2])
            return f"/{kind}/{self._ids.get((kind, number), number)}"

        path = re.sub(r"/(tasks|jobs|labels|access_tokens|projects|webhooks)/(\d+)", mapped, path)

        def request_id(match: re.Match[str]) -> str:
            return f"target_id%3D{self._ids.get(('tasks', int(match[1])), int(match[1]))}"

        return re.sub(r"target_id%3D(\d+)", request_id, path)

    def _mapped_query(self, name: str, value: str) -> str:
        kind = {"task_id": "tasks", "job_id": "jobs", "project_id": "projects"}.get(name)
        return str(self._ids.get((kind, int(value)), value)) if kind and value.isdigit() else value

    def _body(self, exchange: Exchange) -> tuple[bytes | None, str | None]:
        recorded = exchange.request["body"]
        if recorded is None:
            return None, None
        if "multipart" in recorded:
            return self._multipart(exchange, recorded["multipart"])
        if "text" in recorded:
            return recorded["text"].encode(), None
        if "binary" in recorded:
            return b'{"shapes": [', None
        return json.dumps(self._mapped_body(exchange, recorded["json"])).encode(), None

    def _mapped_body(self, exchange: Exchange, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            if "password" in value and exchange.label != "login-bad-password":
                value = {**value, "password": PASSWORD}
            if "password1" in value:
                value = {**value, "password1": PASSWORD, "password2": PASSWORD}
            return {name: self._mapped_body(exchange, item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._mapped_body(exchange, item, key) for item in value]
        if key == "target_url":
            return self._webhook_url
        if type(value) is int:
            if key in ("label_id", "spec_id"):
                return self.label_ids.get(value, value)
            kind = {"task_id": "tasks", "project_id": "projects", "id": "annotations"}.get(key)
            if kind:
                return self._ids.get((kind, value), value)
        return value

    def _multipart(self, exchange: Exchange, parts: list[dict[str, str]]) -> tuple[bytes, str]:
        sizes = self._recorded_sizes(exchange)
        fields: list[tuple[str, Any]] = []
        for part in parts:
            name = re.search(r'name="([^"]*)"', part["headers"])
            file = re.search(r'filename="([^"]*)"', part["headers"])
            assert name
            if file is None:
                fields.append((name[1], part["value"]))
            else:
                base = file[1].rpartition("/")[2]
                if base.endswith(".mp4"):
                    fields.append((name[1], (file[1], _clip(60, 320, 240))))
                    continue
                fields.append((name[1], (file[1], _picture(base, sizes.get(base, (100, 80))))))
        return urllib3.encode_multipart_formdata(fields)

    def _recorded_sizes(self, exchange: Exchange) -> dict[str, tuple[int, int]]:
        # The stepped task shows only some of its pictures; they are those of the first one.
        sizes: dict[str, tuple[int, int]] = {}
        for other in self._recording:
            if other.route == "/api/tasks/N/data/meta" and other.response["status"] == 200:
                for frame in other.response["body"]["json"]["frames"]:
                    sizes.setdefault(frame["name"], (frame["width"], frame["height"]))
        return sizes

    def _finished(self, exchange: Exchange, body: Any) -> Any:
        """Where the recording has seen the end of a request, or of deliveries, waits for it."""
        recorded = exchange.response["body"]
        if not recorded or "json" not in recorded:
            return body

        def goes_on() -> bool:
            theirs, ours = recorded["json"], body["json"]
            if "/requests/" in exchange.route:
                return theirs["status"] == "finished" and ours["status"] in ("queued", "started")
            return exchange.route.endswith("/deliveries") and ours["count"] < theirs["count"]

        deadline = time.monotonic() + 30
        while goes_on():
            assert time.monotonic() < deadline
            time.sleep(0.02)
            response = self._request(exchange)
            body = body_of(response.data, response.headers.get("content-type"))
        return body

    def _learn(self, exchange: Exchange, body: Any) -> None:
        recorded = exchange.response["body"]
        if not isinstance(recorded, dict) or not isinstance(body, dict):
            return
        if "json" not in recorded or "json" not in body:
            return
        theirs, ours = recorded["json"], body["json"]
        if exchange.label == "access-token-create":
            self._tokens["read-write"] = ours["value"]
        elif exchange.label == "access-token-create-ro":
            self._tokens["read-only"] = ours["value"]
        elif exchange.label.startswith("login-ok"):
            self._tokens["session"] = ours["key"]
        kind = exchange.route.removeprefix("/api/").removeprefix("auth/").partition("/")[0]
        if "annotations" in exchange.route:
            self._pair_annotations(theirs, ours)
        elif exchange.response["status"] in (200, 201):
            self._pair(kind, theirs, ours)

    def _keep_session(self, response: urllib3.BaseHTTPResponse) -> None:
        for cookie in response.headers.getlist("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value

    def _pair(self, kind: str, theirs: Any, ours: Any) -> None:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            if "results" in theirs:
                for one, other in zip(theirs["results"], ours.get("results", []), strict=False):
                    self._pair(kind, one, other)
            elif isinstance(theirs.get("id"), int) and isinstance(ours.get("id"), int):
                self._ids[kind, theirs["id"]] = ours["id"]
                if kind == "labels":
                    self._pair_labels(theirs, ours)

    def _pair_labels(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        self.label_ids[theirs["id"]] = ours["id"]
        for one in theirs["attributes"]:
            for other in ours["attributes"]:
                if one["name"] == other["name"]:
                    self.label_ids[one["id"]] = other["id"]
        for one in theirs.get("sublabels", []):
            for other in ours["sublabels"]:
                if one["name"] == other["name"]:
                    self._pair_labels({**one}, {**other})

    def _pair_annotations(self, theirs: Any, ours: Any) -> None:
        if not isinstance(theirs, dict) or not isinstance(ours, dict) or "tracks" not in theirs:
            return
        for name in ("tags", "shapes", "tracks"):
            for one, other in zip(theirs[name], ours.get(name, []), strict=False):
                if isinstance(one, dict) and "id" in one and "id" in other:
                    self._ids.setdefault(("annotations", one["id"]), other["id"])
                    for a, b in zip(one.get("elements", []), other.get("elements", []), strict=False):
                        if isinstance(a, dict) and "id" in a and "id" in b:
                            self._ids.setdefault(("annotations", a["id"]), b["id"])

    def _differences(
        self, exchange: Exchange, response: urllib3.BaseHTTPResponse, body: Any, by_outline: bool
    ) -> list[str]:
        recorded = exchange.response
        found = []
        if response.status != recorded["status"]:
            found.append(f"status {response.status}, recorded {recorded['status']}")
        theirs = {name.lower(): value for name, value in recorded["headers"]}
        for name in COMPARED_HEADERS:
            one, other = theirs.get(name), response.headers.get(name)
            if (one is None) != (other is None) or (name not in PRESENT_ONLY and one != other):
                found.append(f"header {name}: {other!r}, recorded {one!r}")
        left = comparable(body, route=exchange.route)
        right = comparable(recorded["body"], route=exchange.route, label_ids=self.label_ids)
        if by_outline:
            left, right = outline(left), outline(right)
        found += differences(left, right)
        return found


def differences(ours: Any, theirs: Any, place: str = "body") -> list[str]:
    """Where two bodies differ, at most some of it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [f"{place}.{name} missing" for name in theirs.keys() - ours.keys()]
        found += [f"{place}.{name} not recorded" for name in ours.keys() - theirs.keys()]
        for name in ours.keys() & theirs.keys():
            found += differences(ours[name], theirs[name], f"{place}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        found = [] if len(ours) == len(theirs) else [f"{place}: {len(ours)} items, recorded {len(theirs)}"]
        for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            found += differences(one, other, f"{place}[{index}]")
    elif type(ours) is not type(theirs) or ours != theirs:
        found = [f"{place}: {ours!r}, recorded {theirs!r}"]
    else:
        found = []
    return found[:12]


def _clip(count: int, width: int, height: int) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            image = Image.new("RGB", (width, height), (index * 4, 100, 50))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _picture(name: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    if name == "im_05.jpg":
        # This one is rotated, as its EXIF says.
        image = Image.new("RGB", (size[1], size[0]), "teal")
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(buffer, "JPEG", exif=exif)
    else:
        image = Image.new("RGB", size, "teal")
        image.save(buffer, "PNG" if name.endswith(".png") else "JPEG")
    return buffer.getvalue()
