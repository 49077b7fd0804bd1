"""A tracking function that answers calls of CVAT's pages.

Facts of CVAT 2.73: the page begins to track on the frame before, and then asks for the present one. Without
a shape for each object it breaks for all of them, so a lost object keeps its last known shape.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect_cvat.gateway.calls import TrackerCall
from prefect_cvat.gateway.prepared_images import PreparedImages
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.sent_images import SentImage
from prefect_cvat.gateway.single_calls import SingleCalls
from prefect_cvat.gateway.tracks import Track, Tracks
from prefect_cvat.inference.tracking_calls import (
    ShapeToTrack,
    TrackingContext,
    begin_tracking,
    track_shape,
)

__all__ = ["TrackingService"]


class TrackingService(SingleCalls[TrackerCall]):
    """A loaded tracking function.

    Args:
        function: The function.
        key: Identifies it among the prepared images and the tracked objects.
        images: Where prepared images are kept.
        tracks: Where tracked objects are kept.

    Raises:
        BadFunctionError: It has no `init_tracking_state` or `track`.
    """

    def __init__(self, function: Any, key: object, images: PreparedImages, tracks: Tracks) -> None:
        super().__init__(
            function,
            key,
            images,
            TrackingContext(),
            kind="a tracking function",
            methods=["init_tracking_state", "track"],
        )
        self._tracks = tracks

    def _call(self, call: TrackerCall, losses: Counter[str]) -> dict[str, Any]:
        return self._track(call, losses) if call.states else self._begin(call)

    def _begin(self, call: TrackerCall) -> dict[str, Any]:
        if not call.shapes:
            return {"states": []}
        prepared = self._prepared(call.image)
        image, frame = call.image.opened, call.image.frame
        begun = []
        for number, shape in enumerate(call.shapes):
            source = ShapeToTrack(number, shape.type.value, shape.points)
            tracked = begin_tracking(self._function, frame, image, prepared.value, source)
            begun.append(Track(self._key, tracked, shape.type.value, list(shape.points), prepared.size))
        return {"states": [self._tracks.add(track) for track in begun]}

    def _track(self, call: TrackerCall, losses: Counter[str]) -> dict[str, Any]:
        tracks = self._tracks.find(call.states, self._key)
        size = call.image.opened.size
        for track in tracks:
            if track.size != size:
                raise Refusal(
                    400,
                    f"the image has {size[0]}x{size[1]} pixels, and tracking began on"
                    f" {track.size[0]}x{track.size[1]}: begin again on this frame",
                )
        prepared = self._prepared(call.image)
        for track in tracks:
            self._advance(track, call.image, prepared.value, losses)
        self._tracks.resize(tracks)
        shapes = [{"type": track.type, "points": track.points} for track in tracks]
        return {"shapes": shapes, "states": list(call.states)}

    def _advance(self, track: Track, image: SentImage, prepared: Any, losses: Counter[str]) -> None:
        if track.tracked is not None:
            shape, clipping = track_shape(self._function, image.frame, image.opened, prepared, track.tracked)
            if clipping is not None:
                losses[clipping.value] += 1
            if shape is not None:
                track.points = list(shape.points)
                return
            track.tracked = None
        losses["lost objects, at their last known place"] += 1
