"""Runs an interaction function with existing shapes as prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import PIL.Image

from prefect_cvat.auto_annotation.function_calls import as_list, place_of, read_spec
from prefect_cvat.auto_annotation.interface import InteractionFunction
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import Clipping, clip_shape
from prefect_cvat.inference.image_calls import call_on_images, preprocess_image
from prefect_cvat.inference.interaction_results import checked_result, confidence_of
from prefect_cvat.inference.prompts import InteractionContext, Prompts, prompts_of
from prefect_cvat.masks import decode_mask, encode_mask, mask_to_polygons, polygon_to_mask
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import ShapeType, enum_value
from prefect_cvat.options.refine_options import PROMPTING_TYPES

__all__ = ["ShapeRefiner"]


class ShapeRefiner:
    """An interaction function, and the type of its results.

    A rectangle gives a bounding box (around it, if it is rotated), and its centre as a positive point if the
    function needs one or takes no boxes. Points give positive points.

    Args:
        function: The function, for this interface or that of the SDK.
        to: `mask` or `polygon`, into which results of other types are converted; None leaves them as
            the function returns them.
        tolerance: Maximum distance of a polygon from the outline of its mask, in pixels.

    Raises:
        BadFunctionError: It is not an interaction function.
        ValueError: `to` is something else, or `tolerance` is negative.
    """

    def __init__(
        self,
        function: InteractionFunction[Any],
        to: Literal["mask", "polygon"] | None = None,
        *,
        tolerance: float = 1.0,
    ) -> None:
        if to not in (None, "mask", "polygon"):
            raise ValueError(f"to must be 'mask', 'polygon' or None, not {to!r}")
        if tolerance < 0:
            raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
        name = type(function).__name__
        spec = read_spec(function, "an interaction function")
        if not hasattr(spec, "min_pos_points"):
            raise BadFunctionError(
                f"{name!r} is not an interaction function: its spec is {type(spec).__name__!r}"
                f" (expected 'InteractionFunctionSpec') ({place_of(function)})"
            )
        if not callable(getattr(function, "detect", None)):
            raise BadFunctionError(
                f"{name!r} is not an interaction function: it has no 'detect' ({place_of(function)})"
            )
        self.function = function
        self.to = to
        self.tolerance = tolerance
        self._min_pos_points: int = spec.min_pos_points
        self._min_neg_points: int | None = getattr(spec, "min_neg_points", None)
        self._min_boxes: int | None = getattr(spec, "min_bounding_boxes", None)
        self._context = InteractionContext()

    def check(self, shapes: Iterable[Mapping[str, Any]]) -> None:
        """Check that the function can be prompted by these shapes, before any image is fetched.

        Args:
            shapes: The server's JSON objects; only type and number of points matter.

        Raises:
            BadFunctionError: It cannot; the message says what is missing, once for each reason.
        """
        if problems := sorted({problem for shape in shapes if (problem := self._problem(shape))}):
            raise BadFunctionError(
                f"{type(self.function).__name__!r} cannot be prompted by these shapes: {'; '.join(problems)}"
            )

    def _problem(self, shape: Mapping[str, Any]) -> str | None:
        shape_type = enum_value(shape["type"])
        if shape_type not in PROMPTING_TYPES:
            return f"{shape_type} (only rectangle and points can be prompts)"
        if self._min_neg_points:
            return f"it needs {pluralize(self._min_neg_points, 'negative point')}, and shapes give none"
        if shape_type == "points" and self._min_boxes:
            return "it needs a bounding box, and points give none"
        count = 1 if shape_type == "rectangle" else len(shape["points"]) // 2
        if count < self._min_pos_points:
            gives = f"{shape_type} gives" if shape_type == "rectangle" else "points of this number give"
            return f"it needs {pluralize(self._min_pos_points, 'positive point')}, and {gives} {count}"
        return None

    def refine(
        self,
        frame: Frame,
        image: PIL.Image.Image,
        shapes: Sequence[dict[str, Any]],
        clippings: Counter[Clipping] | None = None,
    ) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Run the function with the shapes of a frame as prompts.

        The image is preprocessed once for all shapes, and not decoded if there are none.

        Args:
            frame: The frame.
            image: Its image.
            shapes: The server's JSON objects on this frame.
            clippings: Counts the results that were clipped at the edges of the image.

        Returns:
            Each shape, in order, with its results as bodies for the server: the same frame, label,
            attributes, group, z-order and occlusion; the function's confidence as `score`, or else the
            score of the original; source `auto` if the original has it, otherwise `semi-auto`. The list is
            empty if there is no result inside the image. A mask with several parts gives several polygons.

        Raises:
            BadFunctionError: The function failed, its output is invalid, or it cannot be prompted by these
                shapes.
            MediaError: The image is broken.
        """
        self.check(shapes)
        refined: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        preprocessed: list[Any] = []  # none or one
        for shape in shapes:
            prompts = prompts_of(
                shape,
                image.size,
                min_pos_points=self._min_pos_points,
                takes_boxes=self._min_boxes is not None,
            )
            if prompts is None:
                refined.append((shape, []))
                continue
            what = f"{frame}: {enum_value(shape['type'])} {shape.get('id', 'without id')}"
            if not preprocessed:
                preprocessed.append(preprocess_image(self.function, self._context, frame, image))
            found = call_on_images(
                partial(self._detect, preprocessed[0], prompts, shape, image.size, clippings),
                self.function.detect,
                what,
                f"{what}: function failed",
                [(frame, image)],
            )
            refined.append((shape, found))
        return refined

    def _detect(
        self,
        preprocessed: Any,
        prompts: Prompts,
        shape: Mapping[str, Any],
        size: tuple[int, int],
        clippings: Counter[Clipping] | None,
    ) -> list[dict[str, Any]]:
        found = []
        outputs = self.function.detect(self._context, preprocessed, prompts)
        for output in as_list(outputs, "a list of 'InteractionResultShape'"):
            bodies, clipping = self._bodies(output, shape, size)
            found += bodies
            if clippings is not None and clipping is not None:
                clippings[clipping] += 1
        return found

    def _bodies(
        self, output: Any, original: Mapping[str, Any], size: tuple[int, int]
    ) -> tuple[list[dict[str, Any]], Clipping | None]:
        shape = checked_result(output)
        parts, clipping = clip_shape(shape, *size)
        if parts and self.to == "mask" and shape.type is ShapeType.POLYGON:
            parts = [shape.points]  # rasterizing clips it, and keeps one mask
        converted = [result for points in parts for result in self._converted(shape.type, points, size)]
        if parts and not converted:
            clipping = Clipping.EMPTY  # a polygon may contain no pixel centre
        if not converted:
            return [], clipping
        score = confidence_of(output)
        if score is None:
            score = original.get("score")
        bodies = []
        for result_type, result_points in converted:
            body = {
                "type": result_type,
                "frame": original["frame"],
                "label_id": original["label_id"],
                "source": "auto" if enum_value(original.get("source")) == "auto" else "semi-auto",
                "occluded": original.get("occluded", False),
                "outside": False,
                "z_order": original.get("z_order", 0),
                "rotation": 0.0,
                "score": 1.0 if score is None else score,
                "points": result_points,
                "attributes": [
                    {"spec_id": value["spec_id"], "value": value["value"]}
                    for value in original.get("attributes") or ()
                ],
            }
            if original.get("group"):
                body["group"] = original["group"]
            bodies.append(body)
        return bodies, clipping

    def _converted(
        self, shape_type: ShapeType, points: list[float], size: tuple[int, int]
    ) -> Iterator[tuple[str, list[float]]]:
        if self.to in (None, shape_type):
            yield shape_type.value, points
            return
        if shape_type is ShapeType.RECTANGLE:
            left, top, right, bottom = points
            shape_type, points = ShapeType.POLYGON, [left, top, right, top, right, bottom, left, bottom]
        if self.to == "polygon" and shape_type is ShapeType.MASK:
            left, top, right, bottom = map(int, points[-4:])
            cut = [*points[:-4], 0, 0, right - left, bottom - top]
            bitmap = decode_mask(cut, image_width=right - left + 1, image_height=bottom - top + 1)
            for polygon in mask_to_polygons(bitmap, tolerance=self.tolerance, offset=(left, top)):
                yield "polygon", polygon
        elif shape_type is not ShapeType.POLYGON:
            raise BadFunctionError(
                f"function output shape of type {shape_type.value!r}, which cannot be made a {self.to}"
            )
        elif self.to == "polygon":
            yield "polygon", points
        else:
            bitmap = polygon_to_mask(points, image_width=size[0], image_height=size[1])
            if bitmap.any():
                yield "mask", encode_mask(bitmap)
