"""Object detection with NanoDet: 80 classes of everyday objects, quick on a CPU, nothing to download.

The labels are those of COCO: person, bicycle, car, ... (`nanodet_coco/categories.json`).
"""

from __future__ import annotations

import PIL.Image
from torch import Tensor

from prefect_cvat.auto_annotation.functions._classes import Classes
from prefect_cvat.auto_annotation.functions._inference import image_to_bytes
from prefect_cvat.auto_annotation.functions._prepared_model import PreparedModel
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.functions.nanodet_coco import INPUT_SIZE, load_categories, load_model
from prefect_cvat.auto_annotation.functions.torchvision_detection import TorchvisionDetectionFunction

__all__ = ["create"]


def create(
    *,
    score_threshold: float = 0.4,
    device: str = "auto",
    batch_size: int | None = None,
    half_precision: bool = False,
    runtime: str = "auto",
) -> TorchvisionDetectionFunction:
    """Make the detection function.

    It finds rectangles, at most 100 on an image. The ids of its labels are the places of their
    names in COCO's list, from 0.

    Args:
        score_threshold: Minimum score when the run sets no threshold.
        device: `auto` (CUDA, or else MPS, or else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: The greatest number of images that the model gets at once; by default the fastest,
            which is found while it works, on a CPU 8. It is halved whenever the memory does not suffice.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        runtime: What runs the model: `torch`; `openvino` (extra `openvino`), which needs less time on
            a processor; or `auto`, OpenVINO on a processor if it is installed. A model that cannot be
            converted runs in torch, and a warning says so.

    Raises:
        FunctionLoadError: OpenVINO is not installed.
        ValueError: There is no such device or runtime, or a number is out of its range.
    """
    prepared = PreparedModel(
        load_model(score_thresh=0.0),
        _resized,
        Classes(dict(enumerate(load_categories()))),
        takes_bytes=True,
    )
    return TorchvisionDetectionFunction(
        prepared,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        half_precision=half_precision,
        runtime=runtime,
        batch_size_on_cpu=8,
    )


def _resized(image: PIL.Image.Image) -> Tensor:
    """Resize in 8 bits, as for the weights' training: resizing floats moves boxes by up to 2 pixels."""
    return image_to_bytes(to_rgb(image).resize((INPUT_SIZE, INPUT_SIZE), PIL.Image.Resampling.BILINEAR))
