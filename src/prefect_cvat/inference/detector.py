"""Running a detection function on the frames of a batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from typing import Literal

from prefect_cvat.auto_annotation.function_calls import place_of, read_attribute, read_labels
from prefect_cvat.auto_annotation.interface import DetectionFunction, ExistingShape
from prefect_cvat.exceptions import BadFunctionError, DeviceError, PrefectCvatError
from prefect_cvat.frames import Frame, FrameDetections
from prefect_cvat.inference.detection_calls import DetectionCalls
from prefect_cvat.inference.image_feed import (
    FedImage,
    FedImages,
    ImageFeed,
    OpenedImages,
    max_fed_bytes,
)
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.media.untrusted_images import MIN_BYTES_PER_PIXEL
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.planning.label_mapping import LabelMapping

__all__ = ["Detector"]

IMAGES_PER_CALL = 8
"""Number of images in a call of a function that takes several, unless it has a `batch_size`."""


MIN_OPEN_SECONDS = 0.005
"""Images are opened by another thread if calls take as long as this: handing them over takes time, too."""

MIN_CHECK_SECONDS = 0.02
"""Results of calls that together are faster than this are checked together."""

MAX_UNCHECKED = 32
"""Maximum number of frames whose results are checked together, unless a call has more."""

logger = logging.getLogger(__name__)


class Detector:
    """A detection function with the settings of a run.

    Args:
        function: The function.
        conf_threshold: Confidence threshold, 0 to 1; None for the function's own.
        conv_mask_to_poly: Whether masks must be returned as polygons.
        on_frame_error: `fail` ends the run when the function fails on a frame or a frame cannot be
            read; `skip` reports that frame and annotates the others.

    Attributes:
        labels: The labels of the function's spec.

    Raises:
        BadFunctionError: It is not a detection function.
    """

    def __init__(
        self,
        function: DetectionFunction,
        *,
        conf_threshold: float | None = None,
        conv_mask_to_poly: bool = False,
        on_frame_error: Literal["fail", "skip"] = "fail",
    ) -> None:
        if conf_threshold is not None and not 0 <= conf_threshold <= 1:
            raise ValueError(
                f"{argument('conf_threshold')} must be None or a number between 0 and 1, not {conf_threshold}"
            )
        self.labels = read_labels(function)
        if not any(hasattr(function, method) for method in ("detect", "detect_batch", "infer_batch")):
            raise BadFunctionError(
                f"{type(function).__name__!r} is not a detection function: it has no 'detect'"
                f" ({place_of(function)})"
            )
        self.function = function
        self.conv_mask_to_poly = conv_mask_to_poly
        self.on_frame_error = on_frame_error
        self._checker = OutputChecker(self.labels, conv_mask_to_poly=conv_mask_to_poly)
        self._calls = DetectionCalls(
            function, conf_threshold=conf_threshold, conv_mask_to_poly=conv_mask_to_poly
        )
        self._feed = ImageFeed(self._calls.preprocess)
        self._call_seconds = 0.0
        self._misses_shapes = bool(read_attribute(function, "reads_existing_shapes"))

    @property
    def conf_threshold(self) -> float | None:
        """The confidence threshold for the function; None for its own."""
        return self._calls.conf_threshold

    @conf_threshold.setter
    def conf_threshold(self, conf_threshold: float | None) -> None:
        self._calls.conf_threshold = conf_threshold

    def show_existing_shapes(self, on_frame: Callable[[Frame], Sequence[ExistingShape]]) -> None:
        """Show the function the shapes that are on its frames already.

        If a function that reads them is shown none, a line in the log says so.

        Args:
            on_frame: Returns the shapes on a frame.
        """
        self._calls.existing_shapes = on_frame
        self._misses_shapes = False

    def fit_to(self, mapping: LabelMapping) -> None:
        """Check detections against the labels of a task too.

        Detections without a label in the task are returned and cached all the same.
        """
        self._checker = OutputChecker(self.labels, mapping, conv_mask_to_poly=self.conv_mask_to_poly)

    def feed(self, opened: OpenedImages, is_available: Callable[[int], bool] = lambda _: True) -> FedImages:
        """Prepare images for `detect_fed`; they are closed by their `close`.

        Args:
            opened: The frames with their images.
            is_available: See `FedImages`.
        """
        return FedImages(self._feed, opened, self.images_per_call, is_available)

    def detect(self, opened: OpenedImages) -> Iterator[FrameDetections]:
        """Run the function on frames, see `detect_fed`."""
        with closing(self.feed(opened)) as images:
            yield from self.detect_fed(images)

    def detect_fed(self, images: FedImages) -> Iterator[FrameDetections]:
        """Run the function on frames, several at a time where it can take them.

        Its `batch_size` may change: it is read before each call.
        While it runs, other threads open and prepare the next images, and check the results of the call
        before, in the context of the caller: Prefect's loggers find the run there.

        Raises:
            BadFunctionError: The function failed, or its output is invalid.
            DeviceError: The GPU of the function failed.
            MediaError: A frame is broken.
        """
        if self._misses_shapes:
            self._misses_shapes = False
            logger.warning(
                "no shapes are shown to function %r here, such as exemplars: it works by words alone",
                type(self.function).__name__,
            )
        with (
            ThreadPoolExecutor(1, thread_name_prefix="open") as opener,
            ThreadPoolExecutor(1, thread_name_prefix="check") as checker,
        ):
            checking: Future[list[FrameDetections]] | None = None
            for outcomes in self._outcomes(images, opener):
                if checking is not None:
                    yield from checking.result()
                checking = checker.submit(copy_context().run, self._check_all, outcomes)
                del outcomes
            if checking is not None:
                yield from checking.result()

    def _outcomes(
        self, images: FedImages, opener: ThreadPoolExecutor
    ) -> Iterator[list[tuple[Frame, object]]]:
        """Each frame with its output or an error, of one or several calls."""
        outcomes: list[tuple[Frame, object]] = []
        began = time.perf_counter()
        for group in _groups(images, lambda: self._max_images(images)):
            with self._preparing_next(images, opener):
                outcomes += self._run(group)
            del group  # free its pixels before the next ones are decoded
            # handing over what takes microseconds would cost more than checking it
            if time.perf_counter() - began >= MIN_CHECK_SECONDS or len(outcomes) >= MAX_UNCHECKED:
                yield outcomes
                outcomes, began = [], time.perf_counter()
        if outcomes:
            yield outcomes

    def _max_images(self, images: FedImages) -> int:
        """The maximum number of images in the next call.

        One, if only that call will show whether images are to be decoded in advance: the function itself
        would decode them one after the other.
        """
        max_images = self.images_per_call()
        return 1 if images.reading_is_unknown else max_images

    @contextmanager
    def _preparing_next(self, images: FedImages, opener: ThreadPoolExecutor) -> Iterator[None]:
        """Prepare the images of the next calls during a call; before it, if calls are fast."""
        began = time.perf_counter()
        if self._call_seconds < MIN_OPEN_SECONDS or not images.are_read:
            images.prepare_next(lambda: False)
            yield
        else:
            is_awaited = threading.Event()
            opening = opener.submit(copy_context().run, images.prepare_next, is_awaited.is_set)
            try:
                yield
            finally:
                is_awaited.set()
            opening.result()
        self._call_seconds = time.perf_counter() - began

    def check_cached(self, found: FrameDetections) -> FrameDetections:
        """Check cached detections, which may have been made with another label mapping.

        Raises:
            BadFunctionError: They do not fit the function or the task.
        """
        return self._checker.check(found.frame, [*found.tags, *found.shapes])

    def images_per_call(self) -> int:
        """How many images a call of the function takes at most.

        Raises:
            BadFunctionError: Its `batch_size` is no whole number.
        """
        if self._calls.takes_one_image:
            return 1
        wanted = read_attribute(self.function, "batch_size")
        if wanted is not None and not isinstance(wanted, int):
            raise BadFunctionError(
                f"the batch_size of {type(self.function).__name__!r} is of type {type(wanted).__name__!r}"
                f" (expected 'int') ({place_of(self.function)})"
            )
        return max(1, IMAGES_PER_CALL if wanted is None else wanted)

    def _run(self, group: Sequence[FedImage]) -> list[tuple[Frame, object]]:
        """Run the function on images; return each frame with the output for it, or with an error."""
        broken = {fed.frame.number: fed.error for fed in group if fed.error is not None}
        for error in broken.values():
            if self._ends_run(error):
                raise error
        good = [fed for fed in group if fed.error is None]
        outputs = iter(self._call(good) if good else ())
        return [(fed.frame, broken.get(fed.frame.number) or next(outputs)) for fed in group]

    def _call(self, group: Sequence[FedImage]) -> list[object]:
        try:
            return list(self._calls.run(group))
        except PrefectCvatError as error:
            if self._ends_run(error):
                raise
            if len(group) == 1:
                return [error]
        # find the frame that failed
        return [output for fed in group for output in self._call([fed])]

    def _ends_run(self, error: PrefectCvatError) -> bool:
        return self.on_frame_error == "fail" or isinstance(error, DeviceError)

    def _check_all(self, outcomes: Sequence[tuple[Frame, object]]) -> list[FrameDetections]:
        return [self._check(frame, outcome) for frame, outcome in outcomes]

    def _check(self, frame: Frame, outcome: object) -> FrameDetections:
        error = outcome
        if not isinstance(outcome, PrefectCvatError):
            try:
                annotations = self._calls.postprocess(frame, outcome)
                return self._check_output(frame, annotations)
            except PrefectCvatError as failed:
                if self._ends_run(failed):
                    raise
                error = failed
        return FrameDetections(frame.number, [], [], error=str(error))

    def _check_output(self, frame: Frame, annotations: object) -> FrameDetections:
        try:
            return self._checker.check(frame.number, annotations)
        except BadFunctionError as error:
            raise BadFunctionError(f"{frame}: {error}") from error


def _groups(frames: Iterator[FedImage], max_images: Callable[[], int]) -> Iterator[list[FedImage]]:
    """Groups of up to `max_images()` images and `max_fed_bytes()`; a larger image is its own group."""
    max_bytes = max_fed_bytes()
    group: list[FedImage] = []
    group_bytes = 0
    for fed in frames:
        size = MIN_BYTES_PER_PIXEL * fed.frame.width * fed.frame.height
        if group and group_bytes + size > max_bytes:
            yield group
            group, group_bytes = [], 0
        group.append(fed)
        group_bytes += size
        del fed  # only the group may hold its image
        if len(group) >= max_images() or group_bytes > max_bytes:  # before the next image is opened
            yield group
            group, group_bytes = [], 0
    if group:
        yield group
