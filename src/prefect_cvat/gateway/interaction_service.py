"""An interaction function that answers calls of CVAT's pages."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect_cvat.auto_annotation.function_calls import as_list
from prefect_cvat.gateway.calls import InteractorCall
from prefect_cvat.gateway.interactor_answers import interactor_answer
from prefect_cvat.gateway.prepared_images import PreparedImages
from prefect_cvat.gateway.single_calls import SingleCalls
from prefect_cvat.inference.image_calls import call_on_images
from prefect_cvat.inference.interaction_results import checked_result, confidence_of
from prefect_cvat.inference.prompts import InteractionContext
from prefect_cvat.models import LabeledShapeRequest

__all__ = ["InteractionService"]


class InteractionService(SingleCalls[InteractorCall]):
    """A loaded interaction function.

    Args:
        function: The function.
        key: Identifies it among the images that are prepared.
        images: Where prepared images are kept.

    Raises:
        BadFunctionError: It has no `detect`.
    """

    def __init__(self, function: Any, key: object, images: PreparedImages) -> None:
        super().__init__(
            function, key, images, InteractionContext(), kind="an interaction function", methods=["detect"]
        )

    def _call(self, call: InteractorCall, losses: Counter[str]) -> dict[str, Any]:
        prepared = self._prepared(call.image)
        what = f"image {call.image.digest[:8]}"
        results = call_on_images(
            lambda: self._detect(prepared.value, call), self._function.detect, what, f"{what} failed", []
        )
        return interactor_answer(results, prepared.size, losses)

    def _detect(self, prepared: Any, call: InteractorCall) -> list[tuple[LabeledShapeRequest, float | None]]:
        outputs = self._function.detect(self._context, prepared, call.prompts)
        return [
            (checked_result(output), confidence_of(output))
            for output in as_list(outputs, "a list of 'InteractionResultShape'")
        ]
