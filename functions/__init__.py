"""Auto-annotation functions that come with prefect-cvat: one module each, with a function `create`."""

from __future__ import annotations

from types import ModuleType

EXTRAS = {
    "ensemble": None,
    "grabcut_interaction": "video",
    "nanodet_detection": "pytorch",
    "onnx_detection": "onnx",
    "open_vocabulary_detection": "transformers",
    "optical_flow_tracking": "video",
    "sam2_interaction": "transformers",
    "sam2_tracking": "transformers",
    "sam3_detection": "transformers",
    "sam3_tracking": "transformers",
    "sam3_word_tracking": "transformers",
    "tiled": None,
    "torchvision_classification": "pytorch",
    "torchvision_detection": "pytorch",
    "torchvision_instance_segmentation": "pytorch",
    "torchvision_keypoint_detection": "pytorch",
    "transformers_detection": "transformers",
    "transformers_pose": "transformers",
    "ultralytics_detection": "ultralytics",
}
"""The functions, each with the extra that it needs."""


def __getattr__(name: str) -> ModuleType:
    """Import a function's module; `from ... import` asks here first. Its error says what to install."""
    if name not in EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefect_cvat.auto_annotation.loading import import_builtin

    return import_builtin(name)
