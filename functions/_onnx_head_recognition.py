"""Tells what the outputs of an ONNX model mean."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.auto_annotation.functions._onnx_heads import (
    KNOWN_HEADS,
    DetrHead,
    Head,
    TorchvisionHead,
    YoloHead,
    is_end_to_end,
)
from prefect_cvat.auto_annotation.functions._onnx_session import TensorInfo
from prefect_cvat.exceptions import BadFunctionError

__all__ = ["recognize_head"]


def recognize_head(
    outputs: Sequence[TensorInfo],
    metadata: Mapping[str, str],
    *,
    class_count: int | None,
    iou: float,
    image_size: int | tuple[int, int] | None,
) -> Head:
    """Tell what the outputs of a model mean.

    Args:
        outputs: The outputs.
        metadata: As Ultralytics writes it into the file.
        class_count: The number of classes, if it is known.
        iou: For non-maximum suppression.
        image_size: For a YOLO model that takes any size: of the longer side, or height and width, in pixels;
            None for that of the export.

    Raises:
        BadFunctionError: No known detector has such outputs, or the number of classes is another one.
    """
    if (task := metadata.get("task", "detect")) != "detect":
        raise BadFunctionError(
            f"this is a model for the task {task!r}; of exported models, only those for 'detect' are"
            " supported. ultralytics_detection runs models for other tasks (.pt)"
        )
    if (names := _torchvision_outputs(outputs)) is not None:
        return TorchvisionHead(names)
    if (head := _detr_head(outputs, class_count)) is not None:
        return head
    if len(outputs) == 1 and len(outputs[0].shape) == 3:
        return _yolo_head(outputs[0], metadata, class_count, iou, image_size)
    raise _unknown(outputs)


def _detr_head(outputs: Sequence[TensorInfo], class_count: int | None) -> DetrHead | None:
    shapes = {each.name: each.shape for each in outputs}
    name = next((name for name in ("logits", "pred_logits") if name in shapes), None)
    if name is None or "pred_boxes" not in shapes:
        return None
    columns = shapes[name][-1] if shapes[name] else None
    if columns is not None:
        _check_class_count(
            columns - 1,
            class_count,
            f"{name} has {columns} columns, the last of them for no object; models that score by a sigmoid,"
            " such as RT-DETR, are not supported",
        )
        class_count = columns - 1
    return DetrHead((name, "pred_boxes"), class_count)


def _yolo_head(
    output: TensorInfo,
    metadata: Mapping[str, str],
    class_count: int | None,
    iou: float,
    image_size: int | tuple[int, int] | None,
) -> YoloHead:
    rows, columns = output.shape[1:]
    if rows is not None and columns is not None:
        is_final = is_end_to_end((rows, columns), class_count)
        if is_final is None:
            raise _unknown([output])
        if not is_final:
            _check_class_count(
                rows - 4, class_count, f"{output} has 4 rows for the box, the others are classes"
            )
            class_count = rows - 4
    stride = _whole_number(_literal(metadata.get("stride"))) or 32
    exported = _height_and_width(_literal(metadata.get("imgsz")))
    size = _height_and_width(image_size) or exported or (640, 640)
    height, width = (math.ceil(side / stride) * stride for side in size)
    return YoloHead((output.name,), class_count, iou, (height, width), stride)


def _torchvision_outputs(outputs: Sequence[TensorInfo]) -> tuple[str, ...] | None:
    """The names of boxes, labels and scores, in this order. Exports without names are told by their types."""
    names = ("boxes", "labels", "scores")
    if set(names) <= {each.name for each in outputs}:
        return names
    flat = [each for each in outputs if len(each.shape) == 1]
    found = (
        [each.name for each in outputs if len(each.shape) == 2 and each.shape[1] == 4],
        [each.name for each in flat if each.dtype.startswith("int")],
        [each.name for each in flat if each.dtype.startswith("float")],
    )
    return tuple(each[0] for each in found) if all(len(each) == 1 for each in found) else None


def _check_class_count(count: int, expected: int | None, reason: str) -> None:
    if expected is not None and count != expected:
        raise BadFunctionError(f"there are {expected} labels, but the model has {count} classes ({reason})")


def _literal(text: str | None) -> Any:
    try:
        return None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _height_and_width(size: Any) -> tuple[int, int] | None:
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    height, width = (_whole_number(side) for side in sides) if len(sides) == 2 else (None, None)
    return None if height is None or width is None else (height, width)


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _unknown(outputs: Sequence[TensorInfo]) -> BadFunctionError:
    return BadFunctionError(
        f"the outputs of the model are not known: {'; '.join(map(str, outputs))}. Known are {KNOWN_HEADS}"
    )
