"""Where models that were converted for OpenVINO are kept. Neither torch nor OpenVINO is imported."""

from __future__ import annotations

from prefect_cvat.files.file_cache import FileCache
from prefect_cvat.settings import Settings

__all__ = ["converted_models"]


def converted_models() -> FileCache:
    """The models that were converted: in the folder of the cached detections."""
    return FileCache(Settings().cache_dir / "openvino", "the models converted for OpenVINO")
