"""Hostile JSON: answers of every route with wrong types, sizes, depths and pages."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from changing_proxy import Reply
from hostile.hostile_input import HostileInput

ROUTES = {
    "task": r"GET /api/tasks/\d+(\?|$)",
    "labels": r"GET /api/labels",
    "jobs": r"GET /api/jobs\?",
    "meta": r"GET /api/tasks/\d+/data/meta",
    "annotations": r"GET /api/(jobs|tasks)/\d+/annotations",
    "write": r"PATCH /api/jobs/\d+/annotations",
}

DEPTH = 200_000


def _deep(reply: Reply) -> Reply:
    return replace(reply, body=b"[" * DEPTH + b"]" * DEPTH)


def _deep_objects(reply: Reply) -> Reply:
    return replace(reply, body=b'{"a":' * DEPTH + b"1" + b"}" * DEPTH)


def _gzip_bomb(reply: Reply) -> Reply:
    return replace(reply, body=_packed_string()).with_header("Content-Encoding", "gzip")


@cache
def _packed_string() -> bytes:
    return gzip.compress(b'{"a": "' + b"a" * (400 * 2**20) + b'"}', 1)


def _long_string(reply: Reply) -> Reply:
    return replace(reply, body=b'{"detail": "' + b"x" * (300 * 2**20) + b'"}')


_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"7",
    "a string": b'"text"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "half of an object": b'{"id": 1, "na',
    "not a number": b'{"id": NaN, "size": Infinity}',
    "bytes that are not UTF-8": b'{"name": "\xff\xfe\xfd"}',
    "a page of HTML": b"<html><title>Sign in</title><body>please</body></html>",
    "a number of 100,000 digits": b'{"id": ' + b"9" * 100_000 + b"}",
    "a million empty objects": b"[" + b"{}," * 1_000_000 + b"{}]",
}

_SHAPES = {"deep lists": _deep, "deep objects": _deep_objects}

_BOMBS = {"a gzip bomb": _gzip_bomb, "a string of 300 MB": _long_string}


def _with(change: Callable[[Any], Any]) -> Callable[[Reply], Reply]:
    """Change the value that the answer holds."""
    return lambda reply: replace(reply, body=json.dumps(change(json.loads(reply.body))).encode())


def _set(**fields: Any) -> Callable[[Any], Any]:
    return lambda value: {**value, **fields}


def _drop(name: str) -> Callable[[Any], Any]:
    return lambda value: {key: each for key, each in value.items() if key != name}


def _first(change: Callable[[Any], Any], where: str = "results") -> Callable[[Any], Any]:
    def changed(value: Any) -> Any:
        first, *others = value[where] or [{}]
        return {**value, where: [change(first), *others]}

    return changed


def _same_page_again(value: Any) -> Any:
    return {**value, "next": "http://127.0.0.1:9/api/labels?page=2"}


def _pages_without_end(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    page = int(re.search(r'"page_number": (\d+)', reply.body.decode() + '"page_number": 1')[1])
    host = "http://127.0.0.1"
    value |= {"next": f"{host}/api/labels?page={page + 1}", "results": value.get("results", [])}
    return replace(reply, body=json.dumps(value).encode())


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a task whose size is a string": ("task", _set(size="many")),
    "a task of size -1": ("task", _set(size=-1)),
    "a task of size 10 ** 18": ("task", _set(size=10**18)),
    "a task without an id": ("task", _drop("id")),
    "a task whose id is another": ("task", _set(id=999_999)),
    "a task whose name is a list": ("task", _set(name=["a"])),
    "a task with an unknown chunk type": ("task", _set(data_original_chunk_type="tar")),
    "a task of an unknown mode": ("task", _set(mode="hologram")),
    "a task of three dimensions": ("task", _set(dimension="3d")),
    "chunk size 0": ("meta", _set(chunk_size=0)),
    "chunk size -5": ("meta", _set(chunk_size=-5)),
    "a chunk size that is a string": ("meta", _set(chunk_size="two")),
    "chunk size 10 ** 12": ("meta", _set(chunk_size=10**12)),
    "a meta without frames": ("meta", _set(frames=[])),
    "a meta with too many frames": ("meta", lambda m: {**m, "frames": m["frames"] * 3}),
    "a meta of size 10 ** 9": ("meta", _set(size=10**9)),
    "a frame of 0 x 0": ("meta", _first(_set(width=0, height=0), "frames")),
    "a frame of negative size": ("meta", _first(_set(width=-64), "frames")),
    "a frame of 10 ** 9 x 10 ** 9": ("meta", _first(_set(width=10**9, height=10**9), "frames")),
    "a frame without a name": ("meta", _first(_set(name=None), "frames")),
    "deleted frames that there are not": ("meta", _set(deleted_frames=[-1, 10**9])),
    "deleted frames that are words": ("meta", _set(deleted_frames=["one"])),
    "a start frame after the stop frame": ("meta", _set(start_frame=5, stop_frame=0)),
    "a frame filter that is no filter": ("meta", _set(frame_filter="step=0")),
    "a job that ends before it begins": ("jobs", _first(_set(start_frame=5, stop_frame=1))),
    "a job of 10 ** 9 frames": ("jobs", _first(_set(stop_frame=10**9))),
    "a job of a negative frame": ("jobs", _first(_set(start_frame=-4))),
    "a job of another task": ("jobs", _first(_set(task_id=999_999))),
    "a job without a type": ("jobs", _first(_drop("type"))),
    "no jobs": ("jobs", _set(count=0, results=[])),
    "a count of jobs that is wrong": ("jobs", _set(count=10**6)),
    "a next page on another host": ("labels", _same_page_again),
    "a next page that is a file": ("labels", _set(next="file:///etc/passwd")),
    "a next page that is a number": ("labels", _set(next=7)),
    "labels of an unknown type": ("labels", _first(_set(type="blob"))),
    "labels with one id": ("labels", lambda v: {**v, "results": [{**r, "id": 1} for r in v["results"]]}),
    "a label without a name": ("labels", _first(_set(name=None))),
    "attributes that are a number": ("labels", _first(_set(attributes=3))),
    "sublabels within one another": (
        "labels",
        _first(lambda label: {**label, "type": "skeleton", "sublabels": [{**label, "sublabels": [label]}]}),
    ),
    "no labels": ("labels", _set(count=0, results=[])),
    "shapes that are an object": ("annotations", _set(shapes={})),
    "a shape that is a number": ("annotations", _set(shapes=[3])),
    "a shape on frame 10 ** 9": ("annotations", _first(_set(frame=10**9), "shapes")),
    "a shape without points": ("annotations", _first(_set(points=None), "shapes")),
    "a shape of one number": ("annotations", _first(_set(points=[1]), "shapes")),
    "a shape with points that are words": ("annotations", _first(_set(points=["a"] * 4), "shapes")),
    "a shape of an unknown label": ("annotations", _first(_set(label_id=10**9), "shapes")),
    "a shape of an unknown type": ("annotations", _first(_set(type="blob"), "shapes")),
    "a deep attribute": ("annotations", _first(_set(attributes=[[[[[[[[[[1]]]]]]]]]]), "shapes")),
    "a version that is a word": ("annotations", _set(version="new")),
    "annotations without shapes": ("annotations", _drop("shapes")),
    "what was written, without ids": (
        "write",
        lambda value: {
            **value,
            "shapes": [{k: v for k, v in s.items() if k != "id"} for s in value["shapes"]],
        },
    ),
    "what was written, without shapes": ("write", _set(shapes=[])),
    "what was written, with one id for all": (
        "write",
        lambda value: {**value, "shapes": [{**shape, "id": 1} for shape in value["shapes"]]},
    ),
}


def _deep_attribute(reply: Reply) -> Reply:
    """A shape with an attribute whose value is nested 200,000 deep."""
    value = json.loads(reply.body)
    shape = dict(value["shapes"][0], attributes="DEEP")
    body = json.dumps({**value, "shapes": [shape]}).encode()
    return replace(reply, body=body.replace(b'"DEEP"', b"[" * DEPTH + b"]" * DEPTH))


def hostile_json() -> list[HostileInput]:
    """Bodies of every kind for every route, and single fields."""
    inputs = [
        HostileInput(
            f"{body_name} for {route}", "json", pattern, lambda reply, body=body: replace(reply, body=body)
        )
        for number, (body_name, body) in enumerate(_BODIES.items())
        for place, (route, pattern) in enumerate(ROUTES.items())
        if (number + place) % 3 == 0
    ]
    inputs += [
        HostileInput(f"{name} for {route}", "json", pattern, attack)
        for name, attack in _SHAPES.items()
        for route, pattern in ROUTES.items()
    ]
    inputs += [
        HostileInput(f"{name} for {route}", "json", ROUTES[route], attack)
        for name, attack in _BOMBS.items()
        for route in ("meta", "annotations", "write")
    ]
    inputs += [
        HostileInput(name, "json", ROUTES[route], _with(change)) for name, (route, change) in _FIELDS.items()
    ]
    inputs.append(HostileInput("an attribute of great depth", "json", ROUTES["annotations"], _deep_attribute))
    inputs.append(HostileInput("pages without end", "json", ROUTES["labels"], _pages_without_end))
    inputs.append(
        HostileInput(
            "a deep error for a write",
            "json",
            ROUTES["write"],
            lambda reply: replace(_deep(reply), status=500),
        )
    )
    return inputs
