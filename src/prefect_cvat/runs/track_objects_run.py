"""A run of a function that finds the objects of a video, and follows them itself."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.auto_annotation.function_calls import call_function, read_attribute
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.planning.label_mapping import LabelMapping
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.execution.run_context import Workspace
from prefect_cvat.runs.track_detections_run import (
    PlannedTrackDetectionsRun,
    TrackDetectionsRun,
    check_takes_tracks,
)
from prefect_cvat.tracking.given_objects import GivenObjects

__all__ = ["PlannedTrackObjectsRun", "TrackObjectsRun"]


class TrackObjectsRun(TrackDetectionsRun):
    """A run of a `VideoDetectionFunction` on a task: each object that the function finds becomes a track.

    Raises:
        BadFunctionError: It is not a detection function.
        ValueError: Frames on which the function fails are to be skipped.
    """

    follows_objects: ClassVar[bool] = True

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: DetectionFunction,
        options: Options,
        tracking: TrackOptions,
        *,
        function_name: str | None = None,
    ) -> None:
        if options.on_frame_error != "fail":
            raise ValueError(
                "objects cannot be followed over skipped frames; omit"
                f" {argument('on_frame_error', options.on_frame_error)}"
            )
        super().__init__(client, task_id, function, options, tracking, function_name=function_name)

    def _plan(self, workspace: Workspace) -> PlannedTrackDetectionsRun:
        plan = self._read_plan()
        check_takes_tracks(plan.info)
        plan = replace(plan, frames=plan.frames[:: self.tracking.step])
        return PlannedTrackObjectsRun(self.context, plan, workspace, self.detector, self.tracking)


class PlannedTrackObjectsRun(PlannedTrackDetectionsRun):
    """The stages of a run whose function follows the objects itself: it gets the frames in their order."""

    in_order: ClassVar[frozenset[str]] = frozenset({"detect_batch", "upload_batch"})

    def validate_spec(self) -> LabelMapping:
        """Match the function's labels with the task's, and begin a new video.

        Raises:
            BadFunctionError: They do not match, or the function failed.
        """
        mapping = super().validate_spec()
        begin = self.detector.function.begin_video  # type: ignore[attr-defined]
        call_function(begin, begin, "begin_video", "begin_video failed")
        return mapping

    def _new_associator(self, _tracking: TrackOptions) -> GivenObjects:
        return GivenObjects(self._dropped)

    def _dropped(self) -> frozenset[int]:
        return frozenset(read_attribute(self.detector.function, "dropped_objects") or ())

    def _associate(self, batch: Batch, annotations: Annotations) -> None:
        for number in self._dropped():
            self._assembler.discard(number)
            self._collector.discard(number)
        super()._associate(batch, annotations)

    def _why_not_cached(self) -> str:
        return "they depend on the frames before"
