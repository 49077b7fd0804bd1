"""Running a detection function on the frames of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import PIL.Image

from prefect_cvat.auto_annotation.function_calls import (
    as_list,
    place_of,
    read_attribute,
    read_labels,
)
from prefect_cvat.auto_annotation.interface import DetectionFunction, DetectionFunctionContext
from prefect_cvat.exceptions import BadFunctionError, PrefectCvatError
from prefect_cvat.frames import Frame, FrameDetections
from prefect_cvat.inference.image_calls import call_on_images
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.media.image_decoding import decode_pixels, decoding_bytes, usable_cores
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.label_mapping import LabelMapping

__all__ = ["DetectionContext", "Detector"]

IMAGES_PER_CALL = 8
"""Number of images for a call of `detect_batch`, unless the function has a `batch_size`."""

_EXPECTED = "a sequence of tags and shapes"

BYTES_PER_CALL = 64 * 2**20
"""Maximum size in bytes of the images of a call, and of those decoded in advance: 16 megapixels."""


class DetectionContext(DetectionFunctionContext):
    """The frame and the settings of the run, for the function."""

    __slots__ = ("_conf_threshold", "_conv_mask_to_poly", "_frame_name")

    def __init__(
        self, frame_name: str, *, conf_threshold: float | None = None, conv_mask_to_poly: bool = False
    ) -> None:
        self._frame_name = frame_name
        self._conf_threshold = conf_threshold
        self._conv_mask_to_poly = conv_mask_to_poly

    @property
    def frame_name(self) -> str:
        """The file name of the frame in the task."""
        return self._frame_name

    @property
    def conf_threshold(self) -> float | None:
        """Confidence threshold, or None."""
        return self._conf_threshold

    @property
    def conv_mask_to_poly(self) -> bool:
        """Whether masks must be returned as polygons."""
        return self._conv_mask_to_poly


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
        if not (hasattr(function, "detect") or hasattr(function, "detect_batch")):
            raise BadFunctionError(
                f"{type(function).__name__!r} is not a detection function: it has no 'detect'"
                f" ({place_of(function)})"
            )
        self.function = function
        self.conf_threshold = conf_threshold
        self.conv_mask_to_poly = conv_mask_to_poly
        self.on_frame_error = on_frame_error
        self._checker = OutputChecker(self.labels, conv_mask_to_poly=conv_mask_to_poly)
        self._reads_pixels = False

    def fit_to(self, mapping: LabelMapping) -> None:
        """Check detections against the labels of a task too.

        Detections without a label in the task are returned and cached all the same.
        """
        self._checker = OutputChecker(self.labels, mapping, conv_mask_to_poly=self.conv_mask_to_poly)

    def detect(self, opened: Iterable[tuple[Frame, PIL.Image.Image]]) -> Iterator[FrameDetections]:
        """Run the function on frames, several at a time where it can take them.

        Raises:
            BadFunctionError: The function failed, or its output is invalid.
            MediaError: A frame is broken.
        """
        for group in _groups(self._decode_in_advance(opened), self._images_per_call()):
            yield from self._detect_group(group)
            del group  # free its pixels before the next ones are decoded

    def check_cached(self, found: FrameDetections) -> FrameDetections:
        """Check cached detections, which may have been made with another label mapping.

        Raises:
            BadFunctionError: They do not fit the function or the task.
        """
        return self._checker.check(found.frame, [*found.tags, *found.shapes])

    def _images_per_call(self) -> int:
        if not hasattr(self.function, "detect_batch"):
            return 1
        wanted = read_attribute(self.function, "batch_size")
        if wanted is not None and not isinstance(wanted, int):
            raise BadFunctionError(
                f"the batch_size of {type(self.function).__name__!r} is of type {type(wanted).__name__!r}"
                f" (expected 'int') ({place_of(self.function)})"
            )
        return max(1, IMAGES_PER_CALL if wanted is None else wanted)

    def _decode_in_advance(
        self, opened: Iterable[tuple[Frame, PIL.Image.Image]]
    ) -> Iterator[tuple[Frame, PIL.Image.Image]]:
        """Decode images for two calls in advance, in other threads, once the function has read pixels.

        Frames of a video are decoded already.
        """
        frames = iter(opened)
        while not self._reads_pixels:
            try:
                frame, image = next(frames)
            except StopIteration:
                return
            is_lazy = bool(getattr(image, "tile", None))
            yield frame, image
            # Pillow empties `tile` when it decodes
            self._reads_pixels = is_lazy and not getattr(image, "tile", None)
            del frame, image  # free it before the next one is opened
        threads = usable_cores()
        ahead = 2 * max(self._images_per_call(), threads)
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as decoder:
            waiting: list[tuple[int, Any]] = []
            for frame, image in frames:
                needed = decoding_bytes(image)
                while waiting and (
                    len(waiting) >= ahead or sum(size for size, _ in waiting) + needed > BYTES_PER_CALL
                ):
                    yield self._wait(*waiting.pop(0)[1])
                if needed > BYTES_PER_CALL:  # too large to be in memory beside the images of a call
                    yield frame, image
                else:
                    waiting.append((needed, (frame, image, decoder.submit(decode_pixels, image, frame))))
                del frame, image
            while waiting:
                yield self._wait(*waiting.pop(0)[1])

    def _wait(self, frame: Frame, image: PIL.Image.Image, decoded: Any) -> tuple[Frame, PIL.Image.Image]:
        error = decoded.exception()
        if error is not None and self.on_frame_error == "fail":
            raise error
        return frame, image

    def _detect_group(self, group: Sequence[tuple[Frame, PIL.Image.Image]]) -> list[FrameDetections]:
        try:
            outputs = self._call(group)
            return [self._check(frame, output) for (frame, _), output in zip(group, outputs, strict=True)]
        except PrefectCvatError as error:
            if self.on_frame_error == "fail":
                raise
            if len(group) == 1:
                return [FrameDetections(group[0][0].number, [], [], error=str(error))]
        # find the frame that failed
        return [detections for item in group for detections in self._detect_group([item])]

    def _call(self, group: Sequence[tuple[Frame, PIL.Image.Image]]) -> Sequence[object]:
        contexts = [
            DetectionContext(
                frame.name,
                conf_threshold=self.conf_threshold,
                conv_mask_to_poly=self.conv_mask_to_poly,
            )
            for frame, _ in group
        ]
        images = [image for _, image in group]
        frames = ", ".join(str(frame) for frame, _ in group)

        detect_batch = getattr(self.function, "detect_batch", None)

        def call() -> list[list[Any]]:
            if detect_batch is None:
                return [as_list(self.function.detect(contexts[0], images[0]), _EXPECTED)]
            outputs = as_list(detect_batch(contexts, images), "a sequence of results for each image")
            return [as_list(output, _EXPECTED) for output in outputs]

        method = detect_batch or self.function.detect
        outputs = call_on_images(call, method, frames, f"function failed on {frames}", group)
        if len(outputs) != len(group):
            raise BadFunctionError(
                f"detect_batch returned results for {pluralize(len(outputs), 'image')}"
                f" where {len(group)} were given"
            )
        return outputs

    def _check(self, frame: Frame, output: object) -> FrameDetections:
        try:
            return self._checker.check(frame.number, output)
        except BadFunctionError as error:
            raise BadFunctionError(f"{frame}: {error}") from error


def _groups(
    frames: Iterator[tuple[Frame, PIL.Image.Image]], max_images: int
) -> Iterator[list[tuple[Frame, PIL.Image.Image]]]:
    """Groups of up to `max_images` images and `BYTES_PER_CALL` bytes; a larger image is its own group."""
    group: list[tuple[Frame, PIL.Image.Image]] = []
    group_bytes = 0
    for frame, image in frames:
        size = 4 * frame.width * frame.height
        if group and group_bytes + size > BYTES_PER_CALL:
            yield group
            group, group_bytes = [], 0
        group.append((frame, image))
        group_bytes += size
        del frame, image  # only the group may hold them
        if len(group) == max_images or group_bytes > BYTES_PER_CALL:  # before the next image is opened
            yield group
            group, group_bytes = [], 0
    if group:
        yield group
