"""Converts the parts of a model that take the time, so that OpenVINO runs them; the rest stays in torch.

Torchvision's detectors contain control flow, which a trace would fix to that of one image: resizing,
selection of candidates, NMS. Their backbones and heads have none, and take nearly all of the time.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import filelock
import torch
import torchvision
from torch import Tensor, nn

from prefect_cvat.auto_annotation.functions._model_digest import (
    code_of_layers,
    update_with_layers,
    update_with_weights,
)
from prefect_cvat.auto_annotation.functions._openvino import (
    OpenVINOModule,
    Structure,
    flatten,
    import_openvino,
    serialize,
    unflatten,
)
from prefect_cvat.auto_annotation.functions._openvino_cache import converted_models
from prefect_cvat.files.folder_permissions import create_file, make_folder
from prefect_cvat.messages.bounded_text import one_line

__all__ = ["Run", "with_openvino"]

logger = logging.getLogger(__name__)

Run: TypeAlias = Callable[[nn.Module, list[Tensor]], object]
"""Runs a model on images."""

SCHEMA_VERSION = 1
"""Changes when older files can no longer be read."""

_EXAMPLE_SIZES = ((320, 224), (256, 352))
"""Width and height of the images with which a detector is converted that takes any sizes."""

_TOLERANCE = 1e-3
"""How far an output may be from torch's, relative to its greatest value."""


@dataclass(frozen=True)
class _Call:
    arguments: tuple[Any, ...]
    output: Any


class _Recorder(nn.Module):
    """Remembers what a part of a model is called with, and what it returns."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.calls: list[_Call] = []

    def forward(self, *arguments: Any) -> Any:
        output = self.part(*arguments)
        self.calls.append(_Call(arguments, output))
        return output


class _Flat(nn.Module):
    """A part of a model that takes and returns tensors, however it nests them."""

    def __init__(self, part: nn.Module, arguments: Structure) -> None:
        super().__init__()
        self.part = part
        self._arguments = arguments

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(flatten(self.part(*unflatten(self._arguments, iter(tensors))))[0])


def with_openvino(
    model: nn.Module, names: Sequence[str], run: Run, examples: Sequence[list[Tensor]]
) -> nn.Module | None:
    """Return a model whose parts OpenVINO runs; None, and one warning, if one of them cannot be converted.

    Converted parts are kept on disk. The model itself is not changed.

    Args:
        model: The model, on the CPU, in evaluation mode.
        names: The names of its parts, such as `backbone`; an empty name is the model as a whole.
        run: Runs the model.
        examples: Two batches of images, of different sizes and numbers.
    """
    try:
        return with_parts(model, _parts(model, names, run, examples))
    except Exception as error:  # whatever the frontend of OpenVINO raises
        logger.warning(
            "%s runs in torch, because it cannot be converted for OpenVINO: %s",
            type(model).__name__,
            one_line(f"{type(error).__name__}: {error}"),
        )
        return None


def with_parts(model: nn.Module, parts: dict[str, nn.Module]) -> nn.Module:
    """Return a model of which some parts, such as `rpn.head`, are others; the model itself is not changed."""
    if "" in parts:
        return parts[""]
    changed = copy.copy(model)
    modules = dict(model._modules)
    vars(changed)["_modules"] = modules
    for child in {name.partition(".")[0] for name in parts}:
        inner = {name.partition(".")[2]: part for name, part in parts.items() if name.split(".")[0] == child}
        modules[child] = with_parts(model.get_submodule(child), inner)
    return changed


def _parts(
    model: nn.Module, names: Sequence[str], run: Run, examples: Sequence[list[Tensor]]
) -> dict[str, nn.Module]:
    if not names:
        raise TypeError("it is none of torchvision's detectors")
    keys = _keys(model, names, examples)
    if keys is None:
        return _convert(model, names, run, examples)[0]
    if parts := _load(model, keys):
        return parts
    with _one_at_a_time():
        if parts := _load(model, keys):  # another process has made them
            return parts
        parts, contents = _convert(model, names, run, examples)
        for name, key in keys.items():
            converted_models().write(key, contents[name])
        return parts


def _keys(model: nn.Module, names: Sequence[str], examples: Sequence[list[Tensor]]) -> dict[str, str] | None:
    """By the names of the parts, digests of all that they depend on; None if code cannot be compared."""
    try:
        code = code_of_layers(model)
    except AttributeError:
        return None
    common = [
        SCHEMA_VERSION,
        torch.__version__,
        torchvision.__version__,
        import_openvino().__version__,
        [tuple(image.shape) for batch in examples for image in batch],
        repr(getattr(model, "transform", None)),
        getattr(getattr(model, "transform", None), "fixed_size", None),
        code,
    ]
    keys = {}
    for name in names:
        part = model.get_submodule(name)
        digest = hashlib.sha256(repr([*common, name]).encode())
        update_with_layers(digest, part)
        update_with_weights(digest, part)
        keys[name] = digest.hexdigest()
    return keys


def _load(model: nn.Module, keys: dict[str, str]) -> dict[str, nn.Module] | None:
    cache = converted_models()
    parts: dict[str, nn.Module] = {}
    for name, key in keys.items():
        original = model.get_submodule(name)
        part = cache.read(key, partial(OpenVINOModule, original=original))
        if part is None:
            return None
        parts[name] = part
    return parts


def _convert(
    model: nn.Module, names: Sequence[str], run: Run, examples: Sequence[list[Tensor]]
) -> tuple[dict[str, nn.Module], dict[str, bytes]]:
    """Return the converted parts, and the files to keep of them."""
    logger.info("converting %s for OpenVINO, which takes some seconds", type(model).__name__)
    parts: dict[str, nn.Module] = {}
    contents: dict[str, bytes] = {}
    for name, calls in _recorded(model, names, run, examples).items():
        original = model.get_submodule(name)
        contents[name] = _converted(original, calls)
        parts[name] = OpenVINOModule(memoryview(contents[name]), original)
        _compare(name, parts[name], calls)
    return parts, contents


def _recorded(
    model: nn.Module, names: Sequence[str], run: Run, examples: Sequence[list[Tensor]]
) -> dict[str, list[_Call]]:
    """What each part is called with, once for each of the examples."""
    recorders = {name: _Recorder(model.get_submodule(name)) for name in names}
    for size, images in zip(_EXAMPLE_SIZES, examples, strict=True):
        parts: dict[str, nn.Module] = {**recorders}
        transform: Any = getattr(model, "transform", None)
        if transform is not None and getattr(transform, "fixed_size", None) is None:
            parts["transform"] = smaller = copy.copy(transform)
            smaller.fixed_size = size
        with torch.no_grad():
            run(with_parts(model, parts), images)
    for name, recorder in recorders.items():
        if len(recorder.calls) != len(examples):
            raise TypeError(f"it calls {name} {len(recorder.calls)} times for {len(examples)} images")
        for rows, call in enumerate(recorder.calls, 2):
            if any(tensor.numel() == 0 for tensor in flatten(call.arguments)[0]):  # it found no objects
                recorder.calls[rows - 2] = _with_rows(recorder.part, call, rows)
    return {name: recorder.calls for name, recorder in recorders.items()}


def _with_rows(part: nn.Module, call: _Call, rows: int) -> _Call:
    tensors, structure = flatten(call.arguments)
    filled = [torch.rand(rows, *tensor.shape[1:]) for tensor in tensors]
    arguments = unflatten(structure, iter(filled))
    with torch.no_grad():
        return _Call(arguments, part(*arguments))


def _converted(part: nn.Module, calls: Sequence[_Call]) -> bytes:
    openvino = import_openvino()
    (tensors, structure), (others, _) = (flatten(call.arguments) for call in calls)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # of each Python number that becomes a constant; the outputs are compared
        trace: Any = torch.jit.trace
        traced = trace(_Flat(part, structure), tuple(tensors), strict=False, check_trace=False)
        model = openvino.convert_model(traced, example_input=tuple(tensors))
    shapes = {
        index: openvino.PartialShape(
            [-1 if place == 0 or size != other.shape[place] else size for place, size in enumerate(one.shape)]
        )
        for index, (one, other) in enumerate(zip(tensors, others, strict=True))
    }
    model.reshape(shapes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.xml"
        openvino.save_model(model, file, compress_to_fp16=False)
        return serialize(
            file.read_bytes(), file.with_suffix(".bin").read_bytes(), flatten(calls[0].output)[1]
        )


def _compare(name: str, part: nn.Module, calls: Sequence[_Call]) -> None:
    """Compare what a converted part returns with what it returns in torch.

    Raises:
        ValueError: They differ.
    """
    for call in calls:
        found, wanted = flatten(part(*call.arguments))[0], flatten(call.output)[0]
        for one, other in zip(found, wanted, strict=True):
            allowed = _TOLERANCE * float(other.abs().max()) + 1e-6
            if one.shape != other.shape or not bool(((one - other).abs() <= allowed).all()):
                raise ValueError(f"the converted {name or 'model'} returns something else than in torch")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait while another process converts a model, so that each is converted once."""
    folder = converted_models().folder
    with ExitStack() as locks:
        with suppress(OSError):  # if the folder cannot be written, nothing is kept, and that is logged
            make_folder(folder, within=folder.parent)
            create_file(folder / ".lock")
            locks.enter_context(filelock.FileLock(folder / ".lock"))
        yield
