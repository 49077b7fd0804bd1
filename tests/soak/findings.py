"""The detections of the functions of the soak, computed from names and numbers alone.

The functions that runs are given are made of this (functions.py), and the oracle works out from it what must be
on the server. So nothing of the code that is being tried has a say in what is right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

WIDTH, HEIGHT = 64, 48
_CELLS = [(10.0, 10.0), (32.0, 10.0), (54.0, 10.0), (10.0, 36.0), (32.0, 36.0), (54.0, 36.0)]


def detections(key: str, name: str) -> list[Json]:
    """The detections on the image with this name; the same on each call."""
    rng = random.Random(f"{key}/{name}")
    found: list[Json] = []
    for _ in range(rng.randint(0, 4)):
        kind = rng.choice(["rectangle", "rectangle", "polygon", "tag", "skeleton"])
        x, y = rng.randint(0, 120) / 4, rng.randint(0, 80) / 4
        item: Json = {"kind": kind, "score": rng.randint(1, 1000) / 1000}
        if kind == "rectangle":
            item |= {"label": "car", "points": [x, y, x + rng.randint(1, 40) / 4, y + 5.5]}
            item["attributes"] = {"size": rng.choice("sml")} if rng.random() < 0.5 else {}
        elif kind == "polygon":
            item |= {"label": "person", "points": [x, y, x + 9, y, x + 1 / 3, y + 7]}
        elif kind == "tag":
            item |= {"label": "scene"}
        else:
            item |= {"label": "body", "elements": {"nose": [x, y], "tail": [x + 2.25, y + 1]}}
        found.append(item)
        if rng.random() < 0.2:
            found.append(item)  # an equal duplicate
    return found


@dataclass(frozen=True)
class Mover:
    """An object with one track: detected on each of its frames, and never near another one."""

    label: str
    x: float
    y: float
    speed: float
    first: int
    last: int

    def points(self, frame: int) -> list[float]:
        x = self.x + self.speed * (frame - self.first)
        return [x - 4, self.y - 4, x + 4, self.y + 4]


def movers(key: str, frames: int) -> list[Mover]:
    """The objects of a task with this number of frames."""
    rng = random.Random(f"{key}/movers")
    found = []
    for x, y in rng.sample(_CELLS, rng.randint(1, len(_CELLS))):
        first, last = sorted((rng.randrange(frames), rng.randrange(frames)))
        found.append(Mover(rng.choice(["car", "person"]), x, y, rng.choice([0, 0.25]), first, last))
    return found


def detections_of_movers(key: str, frames: int, frame: int) -> list[Json]:
    """The detections on a frame of a task with tracked objects, and sometimes a tag."""
    found: list[Json] = [
        {
            "kind": "rectangle",
            "label": each.label,
            "points": each.points(frame),
            "score": 0.95,
            "attributes": {},
        }
        for each in movers(key, frames)
        if each.first <= frame <= each.last
    ]
    if random.Random(f"{key}/{frame}/tag").random() < 0.3:
        found.append({"kind": "tag", "label": "scene"})
    return found


def reach(points: list[float]) -> int:
    """The number of frames over which a shape can be tracked in each direction; 0 if on none."""
    return (round(points[0] * 10) + round(points[1] * 10)) % 8


def followed(points: list[float], frames: int) -> list[float] | None:
    """The tracked shape this many frames after (or before) the one it was drawn on; None if lost."""
    if abs(frames) > reach(points):
        return None
    return [value + (0.5 * frames if index % 2 == 0 else 0) for index, value in enumerate(points)]


def refined(points: list[float]) -> list[float] | None:
    """The polygon that a box is refined to; None if nothing is found in it."""
    left, top, right, bottom = points
    if (round(left * 10) + round(top * 10)) % 8 == 0:
        return None
    x, y = (left + right) / 2, (top + bottom) / 2
    return [x, top, right, y, x, bottom, left, y]
