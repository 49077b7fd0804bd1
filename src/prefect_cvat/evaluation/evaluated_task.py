"""A task with its ground truth, and the predictions that can be evaluated on it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.evaluation.inputs.coco_file import read_coco_file
from prefect_cvat.evaluation.inputs.ground_truth import GroundTruth, GroundTruthSource, read_ground_truth
from prefect_cvat.evaluation.inputs.predictions import (
    Predictions,
    detect_on_frames,
    read_other_task,
    read_run_annotations,
)
from prefect_cvat.evaluation.inputs.recorded_run import read_recorded_run
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import TaskInfo, read_task
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.runs.execution.pipeline import Submitter
from prefect_cvat.runs.execution.progress_bar import Progress

__all__ = ["EvaluatedTask"]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedTask:
    """A task with its ground truth.

    Attributes:
        client: The server.
        info: The task as the server describes it.
        ground_truth: The ground truth.
        frames: The frames to evaluate.
        options: The options of runs on these frames.
        iou_threshold: Minimum IoU (or OKS) of a match.
        score_threshold: Minimum score.
        started: When it was read, by `time.perf_counter`.
        automatic: The automatic annotations of the task, if they were read with the ground truth.
    """

    client: Client
    info: TaskInfo
    ground_truth: GroundTruth
    frames: PlannedFrames
    options: Options
    iou_threshold: float
    score_threshold: float
    started: float
    automatic: FrameAnnotations | None = None

    @classmethod
    def read(
        cls,
        client: Client,
        task_id: int,
        *,
        truth: GroundTruthSource = "manual",
        truth_task_id: int | None = None,
        all_frames: bool = False,
        options: Options | None = None,
        iou_threshold: float = 0.5,
        score_threshold: float = 0.0,
        with_automatic: bool = False,
    ) -> Self:
        """Read a task and its ground truth; most arguments are those of `evaluate_task`.

        Args:
            client: The server.
            task_id: Id of the task.
            truth: The source of the ground truth.
            truth_task_id: Id of the task with the ground truth.
            all_frames: Evaluate frames without manual annotations too.
            options: The options of runs.
            iou_threshold: Minimum IoU (or OKS) of a match.
            score_threshold: Minimum score.
            with_automatic: Whether `automatic_annotations` will be called: then they are read together with
                manual ones.

        Raises:
            NothingToEvaluateError: There is no ground truth.
            PermissionDeniedError: The user may not read the task or its ground-truth job.
            PrefectCvatError: A request to the server failed.
            ValueError: An argument is out of range.
        """
        started = time.perf_counter()
        options = options or Options()
        if options.selection.unannotated:
            raise ValueError("unannotated frames have no ground truth; select other frames, or none for all")
        info = read_task(client, task_id, options.selection)
        automatic = FrameAnnotations() if with_automatic and truth == "manual" else None
        ground_truth = read_ground_truth(
            client,
            info,
            truth,
            truth_task_id=truth_task_id,
            selection=options.selection,
            all_frames=all_frames,
            ignore_case=options.ignore_case,
            automatic=automatic,
        )
        numbers = np.union1d(ground_truth.frames.numbers, ground_truth.tag_frames.numbers)
        frames = info.frames_of(numbers)
        return cls(
            client, info, ground_truth, frames, options, iou_threshold, score_threshold, started, automatic
        )

    def detect(
        self,
        function: DetectionFunction | ForTask,
        *,
        function_name: str | None = None,
        progress: Progress | None = None,
        submitter: Submitter | None = None,
    ) -> Predictions:
        """The detections of a function on the frames, see `detect_on_frames`."""
        return detect_on_frames(
            self.client,
            self.info,
            self.frames,
            function,
            self.options,
            function_name=function_name,
            progress=progress,
            submitter=submitter,
        )

    def with_options(self, options: Options) -> Self:
        """The same task and frames, with other options of runs."""
        return replace(self, options=options)

    def automatic_annotations(self, task_id: int | None = None) -> Predictions:
        """The automatic annotations (source `auto`) of the task, or of another one with the same images.

        Raises:
            NothingToEvaluateError: There are none.
            PrefectCvatError: A request to the server failed.
        """
        if task_id in (None, self.info.task.id):
            return read_run_annotations(self.client, self.info, self.frames, self.automatic)
        return read_other_task(
            self.client, self.info, self.frames, task_id, ignore_case=self.options.ignore_case
        )

    def written_by(self, run: str) -> Predictions:
        """What an earlier run on the task has written, see `read_recorded_run`."""
        return read_recorded_run(self.client.url, self.info, self.frames, run)

    def coco_file(self, file: Path) -> Predictions:
        """The annotations of a data set in COCO's format, see `read_coco_file`."""
        return read_coco_file(file, self.info, self.frames, ignore_case=self.options.ignore_case)
