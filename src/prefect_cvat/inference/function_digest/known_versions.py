"""Modules of Python and of well-known frameworks: they count by their versions."""

from __future__ import annotations

import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prefect_cvat.auto_annotation.function_calls import is_installed

__all__ = ["known_by_version"]

_FRAMEWORKS = {
    # the names that one imports, by the name of the distribution where that is another one
    "PIL": ("pillow", "pillow-simd"),
    "attr": ("attrs",),
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "cvat_sdk": ("cvat-sdk",),
    "faster_coco_eval": ("faster-coco-eval",),
    "google.protobuf": ("protobuf",),
    "huggingface_hub": ("huggingface-hub",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "prefect_cvat": ("prefect-cvat",),
    "pydantic_core": ("pydantic-core",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos"),
    "typing_extensions": ("typing-extensions",),
    "yaml": ("pyyaml",),
} | {
    name: (name.replace("_", "-"),)
    for line in (
        "accelerate albumentations attrs av certifi charset_normalizer click cupy decord detectron2",
        "diffusers easyocr einops filelock flax fsspec fvcore h5py httpx idna imageio imgaug iopath",
        "jax jaxlib joblib keras kornia lightning llvmlite matplotlib mediapipe mmcv mmdet mmengine",
        "mmpose mmseg networkx numba numpy omegaconf onnx openvino packaging paddle pandas polars",
        "prefect pyarrow pycocotools pydantic pytorch_lightning requests rich safetensors sahi",
        "scipy shapely supervision sympy tensorrt tifffile timm tokenizers torch torchaudio",
        "torchmetrics torchvision tqdm trackers transformers typer ultralytics urllib3",
    )
    for name in line.split()
}

_PYTHON = f"python {sys.version_info.major}.{sys.version_info.minor}"


def known_by_version(name: str, spec: ModuleSpec | None) -> str | None:
    """What a module of Python or of a well-known framework counts by; None for any other."""
    if spec is None:
        return _PYTHON if name.partition(".")[0] in sys.stdlib_module_names else None
    if name.partition(".")[0] == "prefect_cvat":  # also where it is installed for development
        return _version_of("prefect_cvat")
    if spec.origin in ("built-in", "frozen"):
        return _PYTHON
    where = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if not is_installed(where):
        return None
    assert where is not None
    if {"site-packages", "dist-packages"}.isdisjoint(Path(where).parts):
        return _PYTHON
    return _version_of(name)


@cache
def _version_of(name: str) -> str | None:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        for distribution in _FRAMEWORKS.get(".".join(parts[:end]), ()):
            try:
                # without what says for which device it was built: `2.8.0+cpu`
                return f"{distribution} {version(distribution).partition('+')[0]}"
            except PackageNotFoundError:
                continue
    return None
