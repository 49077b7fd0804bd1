"""Ultralytics, used without what it does besides: logs, usage data, installing packages."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._model_function import to_float32
from prefect_cvat.auto_annotation.functions._shapes import whole_pixels

__all__ = ["import_ultralytics", "make_predictor", "mask_in_box", "quiet"]

_MAX_OBJECTS = 300
"""The greatest number of objects on an image: ultralytics' own default."""

_WHILE_IMPORTING = {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
"""Read once, on import: no look-up of foreign hosts, no usage data; no log; no pip."""


def import_ultralytics(module: str | None = None) -> ModuleType:
    """Import ultralytics, or a module of it.

    Raises:
        FunctionLoadError: It is not installed.
    """
    if "ultralytics" not in sys.modules:
        environment = dict(os.environ)
        os.environ.update(_WHILE_IMPORTING)
        try:
            with quiet():
                import_extra("ultralytics")
        finally:
            # It also sets OMP_NUM_THREADS=1 and more, which programs started from here would get.
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
    ultralytics = import_extra("ultralytics")
    return ultralytics if module is None else import_extra(f"ultralytics.{module}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep ultralytics from logging less than errors, and from changing torch's number of threads."""
    logger = logging.getLogger("ultralytics")
    level, threads = logger.level, torch.get_num_threads()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def make_predictor(
    yolo: Any,
    *,
    device: torch.device,
    iou: float,
    image_size: int | tuple[int, int],
    autocast: Callable[[], contextlib.AbstractContextManager[Any]],
) -> Any:
    """Make the predictor for a model's task, which takes lists of BGR images and returns `Results`.

    Args:
        yolo: The model; its layers may be fused in place.
        device: Where it runs.
        iou: For non-maximum suppression.
        image_size: Of the input, or of its longer side.
        autocast: Around the model.

    Returns:
        A predictor whose `args.conf` is to be set. Its results for `segment` have no masks at the size
        of the image but `mask_logits` `[N, H, W]` of the size of the model's, and `input_shape`.
    """
    base = yolo.task_map[yolo.task]["predictor"]
    detection_predictor = import_ultralytics("models.yolo.detect").DetectionPredictor

    class Predictor(base):  # type: ignore[misc, valid-type] # its type is known only when it runs
        def inference(self, im: Tensor, *args: Any, **kwargs: Any) -> Any:
            with autocast():
                return to_float32(super().inference(im, *args, **kwargs))

        def construct_result(
            self, pred: Tensor, img: Tensor, orig_img: NDArray[Any], img_path: str, *protos: Tensor
        ) -> Any:
            if not protos:
                return super().construct_result(pred, img, orig_img, img_path)
            (proto,) = protos
            # A hundred masks of a 4K image would take 800 MB; these take some.
            result = detection_predictor.construct_result(self, pred, img, orig_img, img_path)
            result.mask_logits = torch.einsum("nc,chw->nhw", pred[:, 6:], proto).cpu()
            result.input_shape = tuple(img.shape[2:])
            return result

    with quiet():
        predictor = Predictor(
            overrides={
                "task": yolo.task,
                "mode": "predict",
                "iou": iou,
                "imgsz": image_size,
                "max_det": _MAX_OBJECTS,
                "device": device,
                "rect": True,
                "save": False,
                "verbose": False,
            }
        )
        # One of them reports every prediction to the makers of ultralytics.
        predictor.callbacks = {}
        predictor.setup_model(model=yolo.model, verbose=False)
    return predictor


def mask_in_box(
    result: Any, index: int, box: Tensor, size: tuple[int, int]
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return the probabilities of an object's mask in its box.

    The model's small mask covers its input, in which the image lies in the middle, between margins
    (`ultralytics.data.augment.LetterBox`). It is read at the centres of the image's pixels.

    Args:
        result: For the image, of a predictor of `make_predictor`.
        index: Of the object.
        box: Of the object, in pixels of the image.
        size: Of the image: width, height.

    Returns:
        `[H, W]`, 0 to 1, and where that is in the image, `(x, y)`.
    """
    x1, y1, x2, y2 = whole_pixels(box, size)
    if x1 >= x2 or y1 >= y2:  # of a box at the edge of the image nothing may be left
        return np.zeros((0, 0)), (x1, y1)
    places = []
    gain = min(inner / outer for inner, outer in zip(result.input_shape[::-1], size, strict=True))
    for start, end, of_image, of_input in zip(
        (x1, y1), (x2, y2), size, result.input_shape[::-1], strict=True
    ):
        inside = round(of_image * gain)
        margin = round((of_input - inside) / 2 - 0.1)
        centres = (torch.arange(start, end) + 0.5) * (inside / of_image) + margin
        places.append(centres * (2 / of_input) - 1)
    x, y = places
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    logits = result.mask_logits[index][None, None]
    enlarged = functional.grid_sample(
        logits, grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return enlarged[0, 0].sigmoid().numpy(), (x1, y1)
