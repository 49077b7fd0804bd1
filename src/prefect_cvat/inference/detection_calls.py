"""How a detection function is called: image by image, with several images, or in three steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import PIL.Image

from prefect_cvat.auto_annotation.function_calls import as_list, call_function
from prefect_cvat.auto_annotation.interface import DetectionFunctionContext, ExistingShape
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.image_calls import call_on_images, preprocess_image
from prefect_cvat.inference.image_feed import FedImage, Preprocess
from prefect_cvat.messages.plurals import pluralize

__all__ = ["DetectionCalls", "DetectionContext"]

_ANNOTATIONS = "a sequence of tags and shapes"
_RESULTS = "a sequence of results for each image"

MAX_FRAMES_NAMED = 8
"""Maximum number of frames of a call that an error names each."""


class DetectionContext(DetectionFunctionContext):
    """The frame and the settings of the run, for the function."""

    __slots__ = ("_conf_threshold", "_conv_mask_to_poly", "_existing_shapes", "_frame_name")

    def __init__(
        self,
        frame_name: str,
        *,
        conf_threshold: float | None = None,
        conv_mask_to_poly: bool = False,
        existing_shapes: Sequence[ExistingShape] = (),
    ) -> None:
        self._frame_name = frame_name
        self._conf_threshold = conf_threshold
        self._conv_mask_to_poly = conv_mask_to_poly
        self._existing_shapes = existing_shapes

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

    @property
    def existing_shapes(self) -> Sequence[ExistingShape]:
        """The shapes that are on the frame already."""
        return self._existing_shapes


class DetectionCalls:
    """Calls a detection function.

    A function with `infer_batch` is called in three steps, see `PipelinedDetectionFunction`; one with
    `detect_batch` with several images; any other with one image.

    Args:
        function: The function.
        conf_threshold: Confidence threshold, 0 to 1; None for the function's own.
        conv_mask_to_poly: Whether masks must be returned as polygons.

    Attributes:
        conf_threshold: The argument; may be changed between calls.
        existing_shapes: Returns the shapes that are on a frame already; may be set before the first call.
        takes_one_image: Whether a call takes a single image.
        preprocess: The first of the three steps; None for a function that takes images.
    """

    def __init__(self, function: Any, *, conf_threshold: float | None, conv_mask_to_poly: bool) -> None:
        self._function = function
        self.conf_threshold = conf_threshold
        self.existing_shapes: Callable[[Frame], Sequence[ExistingShape]] = lambda _frame: ()
        self._conv_mask_to_poly = conv_mask_to_poly
        self._has_steps = hasattr(function, "infer_batch")
        self._method = getattr(function, "infer_batch" if self._has_steps else "detect_batch", None)
        self.takes_one_image = self._method is None
        self.preprocess: Preprocess | None = self._preprocess if self._has_steps else None

    def run(self, group: Sequence[FedImage]) -> Sequence[object]:
        """Call the function with the inputs of some frames: one, if it `takes_one_image`.

        Returns:
            The output for each frame, for `postprocess`.

        Raises:
            BadFunctionError: The function failed.
            DeviceError: Its GPU failed.
            MediaError: The function failed, and an image is broken.
        """
        contexts = [self._context(fed.frame) for fed in group]
        inputs = [fed.input for fed in group]
        method = self._method

        def call() -> Sequence[object]:
            if method is None:
                return [as_list(self._function.detect(contexts[0], inputs[0]), _ANNOTATIONS)]
            outputs = as_list(method(contexts, inputs), _RESULTS)
            return outputs if self._has_steps else [as_list(output, _ANNOTATIONS) for output in outputs]

        frames = _describe([fed.frame for fed in group])
        outputs = call_on_images(
            call,
            method or self._function.detect,
            frames,
            f"function failed on {frames}",
            [(fed.frame, fed.image) for fed in group if fed.image is not None],
        )
        if len(outputs) != len(group):
            raise BadFunctionError(
                f"{'infer_batch' if self._has_steps else 'detect_batch'} returned results for"
                f" {pluralize(len(outputs), 'image')} where {len(group)} were given"
            )
        return outputs

    def postprocess(self, frame: Frame, output: Any) -> Any:
        """Make annotations of an output: the last of the three steps, if the function has them.

        Raises:
            BadFunctionError: The function failed.
        """
        if not self._has_steps:
            return output
        method = self._function.postprocess
        context = self._context(frame)
        where = f"{frame}: postprocess"
        return call_function(
            lambda: as_list(method(context, output), _ANNOTATIONS), method, where, f"{where} failed"
        )

    def _preprocess(self, frame: Frame, image: PIL.Image.Image) -> Any:
        return preprocess_image(self._function, self._context(frame), frame, image)

    def _context(self, frame: Frame) -> DetectionContext:
        return DetectionContext(
            frame.name,
            conf_threshold=self.conf_threshold,
            conv_mask_to_poly=self._conv_mask_to_poly,
            existing_shapes=self.existing_shapes(frame),
        )


def _describe(frames: Sequence[Frame]) -> str:
    if len(frames) <= MAX_FRAMES_NAMED:
        return ", ".join(map(str, frames))
    return f"{len(frames)} frames from {frames[0]} to {frames[-1]}"
