"""OpenVINO: when it is used, and modules that it runs in place of torch."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._torch_threads import available_threads
from prefect_cvat.settings import Settings

__all__ = [
    "OpenVINOModule",
    "Runtime",
    "Structure",
    "choose_runtime",
    "flatten",
    "import_openvino",
    "serialize",
    "unflatten",
]

Runtime: TypeAlias = Literal["openvino", "torch"]

_RUNTIMES = ("auto", "torch", "openvino")

Structure: TypeAlias = Any
"""How tensors are nested in tuples, lists and dicts, as JSON has it; None is a tensor."""


def choose_runtime(runtime: str, device: torch.device, *, half_precision: bool) -> Runtime:
    """Return the runtime of a name.

    Args:
        runtime: `torch`, `openvino`, or `auto`: the setting `PREFECT_CVAT_RUNTIME`, by default OpenVINO on
            a CPU where it is installed.
        device: Where the model is to run.
        half_precision: Whether to compute with 16 bits; only torch does so.

    Raises:
        FunctionLoadError: OpenVINO is not installed.
        ValueError: There is no such runtime, or it cannot be used with the device or `half_precision`.
    """
    if runtime not in _RUNTIMES:
        raise ValueError(f"there is no runtime {runtime!r}; there are {', '.join(_RUNTIMES)}")
    is_possible = device.type == "cpu" and not half_precision
    if runtime == "openvino":
        if device.type != "cpu":
            raise ValueError(
                f"runtime 'openvino' is for the CPU, and the device is {str(device)!r}: set device to 'cpu',"
                " or runtime to 'torch'"
            )
        if half_precision:
            raise ValueError("runtime 'openvino' computes with 32 bits: half_precision needs runtime 'torch'")
        import_openvino()
        return "openvino"
    if runtime == "torch" or not is_possible or importlib.util.find_spec("openvino") is None:
        return "torch"
    return "torch" if Settings().runtime == "torch" else "openvino"


def import_openvino() -> ModuleType:
    """Import OpenVINO.

    It reports its use to its maker when it is imported, unless the user has said no, or the package
    `openvino_telemetry` is missing. Nobody who annotates images has agreed to that, so it is missing here.

    Raises:
        FunctionLoadError: It is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # an import then fails
    return import_extra("openvino")


class OpenVINOModule(nn.Module):
    """A module that OpenVINO runs.

    What it returns is valid until the next call in the same thread: it is OpenVINO's own memory, as the
    features of an image may have 100 MB.

    Args:
        content: What `serialize` returned.
        original: The module in torch. It runs in place of this one where a tensor is empty or has other
            sizes than the examples of the conversion suggest.

    Raises:
        ValueError: The content is not that of a converted module.
    """

    def __init__(self, content: memoryview, original: nn.Module) -> None:
        super().__init__()
        openvino = import_openvino()
        length = int.from_bytes(content[:4], "little")
        header = json.loads(bytes(content[4 : 4 + length]))
        xml, weights = content[4 + length :][: header["xml"]], content[4 + length + header["xml"] :]
        try:
            core = openvino.Core()
            model = core.read_model(bytes(xml), bytes(weights))
            self._compiled = core.compile_model(model, "CPU", _settings())
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        self._outputs: Structure = header["outputs"]
        self._sizes = [
            tuple(size.get_length() if size.is_static else None for size in each.partial_shape)
            for each in model.inputs
        ]
        # not as a submodule: its weights are counted where it belongs
        self._original = (original,)
        self._of_thread = threading.local()

    def forward(self, *arguments: Any) -> Any:
        """Do what the module in torch does.

        Raises:
            MemoryError: There is not enough memory.
        """
        tensors, _ = flatten(arguments)
        if not self._takes(tensors):
            return self._original[0](*arguments)
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        request = self._of_thread.request
        arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
        try:
            found = request.infer(arrays, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            if "alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise
        outputs = iter([torch.from_numpy(found[index]) for index in range(len(found))])
        return unflatten(self._outputs, outputs)

    def _takes(self, tensors: Sequence[Tensor]) -> bool:
        return len(tensors) == len(self._sizes) and all(
            tensor.numel() > 0
            and tensor.ndim == len(sizes)
            and all(wanted in (None, size) for wanted, size in zip(sizes, tensor.shape, strict=True))
            for tensor, sizes in zip(tensors, self._sizes, strict=True)
        )


def serialize(xml: bytes, weights: bytes, outputs: Structure) -> bytes:
    """Put a converted module into one file."""
    header = json.dumps({"xml": len(xml), "outputs": outputs}).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, xml, weights])


def flatten(value: Any) -> tuple[list[Tensor], Structure]:
    """Return the tensors in nested tuples, lists and dicts, and how they are nested.

    Raises:
        TypeError: There is something else.
    """
    if isinstance(value, Tensor):
        return [value], None
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        kind, keys, values = "dict", [*value], [*value.values()]
    elif type(value) in (list, tuple):
        kind, keys, values = type(value).__name__, [], [*value]
    else:
        raise TypeError(f"it takes or returns {type(value).__name__}, and not only tensors")
    parts = [flatten(each) for each in values]
    return [tensor for tensors, _ in parts for tensor in tensors], {
        "kind": kind,
        "keys": keys,
        "parts": [structure for _, structure in parts],
    }


def unflatten(structure: Structure, tensors: Iterator[Tensor]) -> Any:
    """Nest tensors again."""
    if structure is None:
        return next(tensors)
    parts = [unflatten(each, tensors) for each in structure["parts"]]
    if structure["kind"] == "dict":
        return dict(zip(structure["keys"], parts, strict=True))
    return tuple(parts) if structure["kind"] == "tuple" else parts


def _settings() -> dict[str, Any]:
    """How OpenVINO runs a model."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": available_threads(),
        # where the CPU can, OpenVINO would compute with 16 bits, which moves boxes
        "INFERENCE_PRECISION_HINT": "f32",
        # a thread that is bound to a core waits for it while others are free
        "ENABLE_CPU_PINNING": False,
    }
