"""What functions that work on one image at a time share: interaction and tracking functions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from prefect_cvat.auto_annotation.function_calls import place_of
from prefect_cvat.exceptions import BadFunctionError, DeviceError, PrefectCvatError
from prefect_cvat.gateway.detection_service import Outcome
from prefect_cvat.gateway.prepared_images import PreparedImage, PreparedImages
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.sent_images import SentImage
from prefect_cvat.inference.image_calls import preprocess_image

__all__ = ["SingleCalls"]

Call = TypeVar("Call")


class SingleCalls(ABC, Generic[Call]):
    """A loaded function that is called for one image at a time.

    Args:
        function: The function.
        key: Identifies it among the images that are prepared.
        images: Where prepared images are kept.
        context: What the function gets to prepare an image.
        kind: Its kind, for errors, such as `an interaction function`.
        methods: The methods that a function of the kind has.

    Attributes:
        max_batch: How many calls run together: one.

    Raises:
        BadFunctionError: It lacks one of the methods.
    """

    max_batch = 1

    def __init__(
        self,
        function: Any,
        key: object,
        images: PreparedImages,
        context: Any,
        *,
        kind: str,
        methods: Sequence[str],
    ) -> None:
        for method in methods:
            if not callable(getattr(function, method, None)):
                raise BadFunctionError(
                    f"{type(function).__name__!r} is not {kind}: it has no {method!r} ({place_of(function)})"
                )
        self._function = function
        self._key = key
        self._images = images
        self._context = context

    @abstractmethod
    def _call(self, call: Call, losses: Counter[str]) -> dict[str, Any]:
        """Call the function; return what CVAT gets, and count what it does not take."""

    def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """Run calls.

        Raises:
            DeviceError: The GPU of the function failed.
        """
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Outcome:
        losses: Counter[str] = Counter()
        try:
            answer = self._call(call, losses)
        except DeviceError:
            raise
        except (Refusal, PrefectCvatError) as error:
            return error, losses
        return json.dumps(answer, allow_nan=False).encode(), losses

    def _prepared(self, image: SentImage) -> PreparedImage:
        """The prepared image; of the images seen last it is kept."""

        def prepare() -> PreparedImage:
            decoded = image.decode()
            value = preprocess_image(self._function, self._context, image.frame, decoded)
            return PreparedImage(value, decoded.size)

        return self._images.get((self._key, image.digest), prepare)
