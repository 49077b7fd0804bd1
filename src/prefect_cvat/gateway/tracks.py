"""The objects that annotators track: their states stay here, and CVAT gets random ids for them.

CVAT would hand a state to the browser; it may be large, or on a GPU, or no JSON at all.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.inference.tracking_calls import TrackedShape

__all__ = ["Track", "Tracks"]


@dataclass(slots=True)
class Track:
    """A tracked object.

    Attributes:
        function: Identifies the function that tracks it.
        tracked: The shape with the function's state; None once it is lost.
        type: The type of the shape.
        points: Where it was last.
        size: Width and height in pixels of the images on which it is tracked.
        used: When it was last asked for, by `time.monotonic`.
    """

    function: object
    tracked: TrackedShape | None
    type: str
    points: list[float]
    size: tuple[int, int]
    used: float = field(default_factory=time.monotonic)


class Tracks:
    """The tracked objects of all functions.

    Args:
        max_count: Maximum number of objects; the one that was not asked for for longest is forgotten first.
        max_seconds: How long an object is kept that is not asked for.
    """

    def __init__(self, max_count: int, max_seconds: float) -> None:
        self._max_count = max_count
        self._max_seconds = max_seconds
        self._tracks: OrderedDict[str, Track] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tracks)

    def add(self, track: Track) -> str:
        """Keep an object; return its id."""
        key = secrets.token_urlsafe(24)
        with self._lock:
            self._tracks[key] = track
            oldest_allowed = time.monotonic() - self._max_seconds
            while (
                len(self._tracks) > self._max_count or next(iter(self._tracks.values())).used < oldest_allowed
            ):
                self._tracks.popitem(last=False)
        return key

    def find(self, keys: Sequence[str], function: object) -> list[Track]:
        """The objects with these ids.

        Raises:
            Refusal: One of them is not known, or is tracked by another function.
        """
        now = time.monotonic()
        with self._lock:
            found = [self._tracks.get(key) for key in keys]
            known = [
                track
                for track in found
                if track is not None and track.function == function and now - track.used <= self._max_seconds
            ]
            if len(known) < len(keys):
                raise Refusal(
                    409,
                    f"{len(keys) - len(known)} of {len(keys)} objects are not tracked here (any more): begin"
                    " to track them again",
                )
            for key, track in zip(keys, known, strict=True):
                track.used = now
                self._tracks.move_to_end(key)
        return known

    def drop(self, is_dropped: Callable[[Track], bool]) -> None:
        """Forget the objects that are so."""
        with self._lock:
            for key in [key for key, track in self._tracks.items() if is_dropped(track)]:
                del self._tracks[key]
