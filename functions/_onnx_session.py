"""Sessions of ONNX Runtime: execution providers, devices, and errors that say what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.bounded_text import one_line

__all__ = ["Execution", "Session", "TensorInfo", "choose_execution"]

_SUFFIX = "ExecutionProvider"
_CPU, _CUDA, _TENSORRT, _CORE_ML = (f"{name}{_SUFFIX}" for name in ("CPU", "CUDA", "Tensorrt", "CoreML"))

_BEST_FIRST = (
    _CUDA,
    *(f"{name}{_SUFFIX}" for name in ("ROCM", "MIGraphX", "Dml", "CoreML", "OpenVINO")),
    _CPU,
)
"""The providers that `auto` chooses from.

Without TensorRT: ONNX Runtime for CUDA lists it even where TensorRT is not installed, and it takes minutes to
load a model. It is used if it is named.
"""

_PROVIDERS_OF_DEVICES = {"cpu": (_CPU,), "cuda": (_CUDA, _TENSORRT), "mps": (_CORE_ML,)}
"""By the device's name in torch, the providers that use it; the first of them by default."""

_TOO_NEW = ("Opset", "Unsupported model IR version", "No Op registered")
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory")


@dataclass(frozen=True)
class Execution:
    """Where ONNX Runtime runs a model.

    Attributes:
        providers: The names of execution providers, in order of preference.
        device_id: The number of the GPU.
        is_strict: Whether it is an error if the first provider cannot be used.
    """

    providers: tuple[str, ...]
    device_id: int = 0
    is_strict: bool = True


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: Its name.
        shape: Its dimensions; None for those of any size.
        dtype: Its type, such as `float`, `float16`, `uint8`, `int64`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        dimensions = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{dimensions}] {self.dtype}"


def choose_execution(providers: str | Sequence[str], device: str) -> Execution:
    """Choose execution providers by name, or by the device.

    Args:
        providers: `auto`, names separated by commas, or a list of names, such as `cuda` or
            `CUDAExecutionProvider`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        FunctionLoadError: ONNX Runtime is not installed.
        ValueError: A provider is not installed, there is no such device, or the providers do not use it.
    """
    available: list[str] = _onnxruntime().get_available_providers()
    listed = ", ".join(_short(name) for name in available)
    kind, _, number = device.partition(":")
    if device != "auto" and (kind not in _PROVIDERS_OF_DEVICES or not (number or "0").isdecimal()):
        raise ValueError(
            f"there is no device {device!r}; there are auto, {', '.join(_PROVIDERS_OF_DEVICES)}, cuda:1"
        )
    names = [name.strip() for name in (providers.split(",") if isinstance(providers, str) else providers)]
    if names == ["auto"]:
        if device == "auto":
            return Execution(tuple(name for name in _BEST_FIRST if name in available), is_strict=False)
        names = [_short(_PROVIDERS_OF_DEVICES[kind][0])]
    by_name = {_short(name): name for name in available}
    missing = [name for name in names if _short(name) not in by_name]
    if missing:
        purpose = "" if device == "auto" else f" (for device {device!r})"
        raise ValueError(
            f"execution provider {missing[0]!r}{purpose} is not installed; this ONNX Runtime has {listed}."
            " To get others, install onnxruntime-gpu (cuda, tensorrt) or onnxruntime-openvino in place of"
            " onnxruntime"
        )
    chosen = tuple(by_name[_short(name)] for name in names)
    if device != "auto" and not set(chosen) & set(_PROVIDERS_OF_DEVICES[kind]):
        raise ValueError(
            f"providers {', '.join(names)} do not use device {device!r}; leave one of the two out"
        )
    return Execution(chosen, int(number or 0))


class Session:
    """A model that is loaded into ONNX Runtime.

    Args:
        path: The file of the model.
        execution: Where it runs.

    Attributes:
        inputs: What the model takes.
        outputs: What the model returns.
        metadata: The texts in the file about the model, by name.
        provider: The execution provider in use, such as `cuda`.
        device: The device as torch names it, such as `cpu` or `cuda:0`.

    Raises:
        BadFunctionError: ONNX Runtime cannot load the model.
        ValueError: The execution provider cannot be used.
    """

    def __init__(self, path: Path, execution: Execution) -> None:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
            options.intra_op_num_threads = int(threads)  # as for torch; ONNX Runtime itself ignores it
        on_gpu = {"device_id": str(execution.device_id)}
        providers = [(name, on_gpu if name in (_CUDA, _TENSORRT) else {}) for name in execution.providers]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            raise BadFunctionError(_load_message(path, error)) from error
        used: list[str] = self._session.get_providers()
        if execution.is_strict and execution.providers[0] not in used:
            raise ValueError(
                f"execution provider {_short(execution.providers[0])!r} is installed but cannot be used here;"
                f" its libraries or its device may be missing. ONNX Runtime would use {_short(used[0])}"
            )
        self.inputs = [_tensor_info(each) for each in self._session.get_inputs()]
        self.outputs = [_tensor_info(each) for each in self._session.get_outputs()]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.provider = _short(used[0])
        self.device = {
            _CUDA: f"cuda:{execution.device_id}",
            _TENSORRT: f"cuda:{execution.device_id}",
            _CORE_ML: "mps",
        }.get(used[0], "cpu")

    def run(self, outputs: Sequence[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model.

        Args:
            outputs: The names of the wanted outputs.
            inputs: By name.

        Returns:
            The outputs; floating-point numbers as float32.

        Raises:
            BadFunctionError: ONNX Runtime cannot run it.
            MemoryError: There is not enough memory.
        """
        try:
            found = self._session.run(list(outputs), inputs)
        except Exception as error:
            if any(message in str(error) for message in _OUT_OF_MEMORY):
                raise MemoryError(_reason(error)) from error
            raise BadFunctionError(f"ONNX Runtime cannot run the model: {_reason(error)}") from error
        return [
            each.astype(np.float32, copy=False) if np.issubdtype(each.dtype, np.floating) else each
            for each in found
        ]


def _onnxruntime() -> Any:
    return import_extra("onnxruntime")


def _short(provider: str) -> str:
    return provider.removesuffix(_SUFFIX).lower()


def _tensor_info(node: Any) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(node.name, shape, node.type.removeprefix("tensor(").removesuffix(")"))


def _reason(error: Exception) -> str:
    """What ONNX Runtime says, without its own file names and signatures."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?)?", "", str(error))
    return one_line(re.sub(r"^/\S+:\d+ .*?\) (?=\w)", "", text))


def _load_message(path: Path, error: Exception) -> str:
    reason = _reason(error)
    if type(error).__name__ == "InvalidProtobuf" or "No graph was found" in reason:
        return f"{str(path)!r} is not an ONNX file, or not a complete one; export the model to ONNX first"
    version = _onnxruntime().__version__
    if any(message in reason for message in _TOO_NEW):
        return (
            f"{str(path)!r} needs operators that ONNX Runtime {version} does not have: upgrade it"
            f" (pip install -U onnxruntime), or export with a lower opset version. It says: {reason}"
        )
    return f"ONNX Runtime {version} cannot load {str(path)!r}: {reason}"
