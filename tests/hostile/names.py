"""Hostile names of tasks, labels and frames."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from changing_proxy import Reply
from hostile.hostile_input import HostileInput
from hostile.json_answers import ROUTES

NAMES = {
    "an escape sequence": "\x1b[2J\x1b]0;title\x07",
    "line breaks": "one\r\ntwo\nERROR: three",
    "a null byte": "a\x00b",
    "a path": "../../../../etc/passwd",
    "a right-to-left override": "\u202egnp.exe",
    "characters beyond the first plane": "\U0001f469\u200d\U0001f680 人" * 5,
    "a lone surrogate": "\ud83d",
    "markup": "<script>alert(1)</script>[bold red]|x|[/]",
    "a format": "{0.__class__} %s %(x)s ${HOME} `id`",
    "100,000 characters": "n" * 100_000,
    "no character": "",
    "blanks": "   \t ",
}


def _renamed(what: str, name: str) -> HostileInput:
    def change(value: Any) -> Any:
        if what == "task":
            return {**value, "name": name}
        key = {"frame": "frames", "label": "results"}[what]
        return {**value, key: [{**value[key][0], "name": name}, *value[key][1:]]}

    def attack(reply: Reply) -> Reply:
        return replace(reply, body=json.dumps(change(json.loads(reply.body))).encode())

    route = ROUTES[{"task": "task", "frame": "meta", "label": "labels"}[what]]
    return HostileInput(f"a {what} name of {label_of(name)}", "name", route, attack)


def label_of(name: str) -> str:
    """What a name is called here."""
    return next(label for label, each in NAMES.items() if each == name)


def hostile_names() -> list[HostileInput]:
    """Each name for a task, a frame and a label."""
    return [_renamed(what, name) for name in NAMES.values() for what in ("task", "frame", "label")]
