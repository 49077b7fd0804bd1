"""The objects that annotators track: their states stay here, and CVAT gets random ids for them.

CVAT would hand a state to the browser; it may be large, or on a GPU, or no JSON at all.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from prefect_cvat.gateway.memory_size import bytes_of
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
        bytes: The estimated memory of its state.
    """

    function: object
    tracked: TrackedShape | None
    type: str
    points: list[float]
    size: tuple[int, int]
    used: float = field(default_factory=time.monotonic)
    bytes: int = 0


class Tracks:
    """The tracked objects of all functions. Those that were not asked for for longest are forgotten first.

    Args:
        max_count: Maximum number of objects.
        max_bytes: Maximum memory of their states, that on GPUs included; one object is always kept.
        max_seconds: How long an object is kept that is not asked for.
    """

    def __init__(self, max_count: int, max_bytes: int, max_seconds: float) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._tracks: OrderedDict[str, Track] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tracks)

    def add(self, track: Track) -> str:
        """Keep an object; return its id."""
        key = secrets.token_urlsafe(24)
        track.bytes = bytes_of(track.tracked)
        with self._lock:
            self._tracks[key] = track
            self._bytes += track.bytes
            self._forget()
        return key

    def resize(self, tracks: Iterable[Track]) -> None:
        """Measure objects whose states may have grown."""
        sizes = [(track, bytes_of(track.tracked)) for track in tracks]
        with self._lock:
            kept = set(map(id, self._tracks.values()))
            for track, size in sizes:
                if id(track) in kept:
                    self._bytes += size - track.bytes
                    track.bytes = size
            self._forget()

    def _forget(self) -> None:
        oldest_allowed = time.monotonic() - self._max_seconds
        while len(self._tracks) > 1 and (
            len(self._tracks) > self._max_count
            or self._bytes > self._max_bytes
            or next(iter(self._tracks.values())).used < oldest_allowed
        ):
            self._bytes -= self._tracks.popitem(last=False)[1].bytes

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
                self._bytes -= self._tracks.pop(key).bytes
