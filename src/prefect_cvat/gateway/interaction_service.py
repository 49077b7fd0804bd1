"""An interaction function that answers calls of CVAT's pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from prefect_cvat.auto_annotation.function_calls import as_list, place_of
from prefect_cvat.exceptions import BadFunctionError, DeviceError, PrefectCvatError
from prefect_cvat.gateway.calls import InteractorCall
from prefect_cvat.gateway.detection_service import Outcome
from prefect_cvat.gateway.interactor_answers import interactor_answer
from prefect_cvat.gateway.prepared_images import PreparedImage, PreparedImages
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.sent_images import SentImage
from prefect_cvat.inference.image_calls import call_on_images, preprocess_image
from prefect_cvat.inference.interaction_results import checked_result, confidence_of
from prefect_cvat.inference.prompts import InteractionContext
from prefect_cvat.models import LabeledShapeRequest

__all__ = ["InteractionService"]


class InteractionService:
    """A loaded interaction function.

    Args:
        function: The function.
        key: Identifies it among the images that are prepared.
        images: Where prepared images are kept.

    Attributes:
        max_batch: How many calls run together: one.

    Raises:
        BadFunctionError: It has no `detect`.
    """

    max_batch = 1

    def __init__(self, function: Any, key: object, images: PreparedImages) -> None:
        if not callable(getattr(function, "detect", None)):
            raise BadFunctionError(
                f"{type(function).__name__!r} is not an interaction function: it has no 'detect'"
                f" ({place_of(function)})"
            )
        self._function = function
        self._key = key
        self._images = images
        self._context = InteractionContext()

    def run(self, calls: Sequence[InteractorCall]) -> list[Outcome]:
        """Run calls.

        Raises:
            DeviceError: The GPU of the function failed.
        """
        return [self._answer(call) for call in calls]

    def _answer(self, call: InteractorCall) -> Outcome:
        losses: Counter[str] = Counter()
        try:
            prepared = self._images.get((self._key, call.image.digest), lambda: self._prepare(call.image))
            what = f"image {call.image.digest[:8]}"
            results = call_on_images(
                lambda: self._detect(prepared.value, call), self._function.detect, what, f"{what} failed", []
            )
            answer = interactor_answer(results, prepared.size, losses)
        except DeviceError:
            raise
        except (Refusal, PrefectCvatError) as error:
            return error, losses
        return json.dumps(answer, allow_nan=False).encode(), losses

    def _prepare(self, image: SentImage) -> PreparedImage:
        decoded = image.decode()
        value = preprocess_image(self._function, self._context, image.frame, decoded)
        return PreparedImage(value, decoded.size)

    def _detect(self, prepared: Any, call: InteractorCall) -> list[tuple[LabeledShapeRequest, float | None]]:
        outputs = self._function.detect(self._context, prepared, call.prompts)
        return [
            (checked_result(output), confidence_of(output))
            for output in as_list(outputs, "a list of 'InteractionResultShape'")
        ]
