"""A digest of what a function is: its code, its parameters, its weights.

Detections are kept between runs under this digest. A function that tells its `version` is taken at its
word. Of any other one the code and the state are looked through; where they hold something that cannot
be looked through (a session of another runtime, say), there is no digest, and nothing is kept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import pathlib
import re
import sys
import sysconfig
import threading
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

__all__ = ["fingerprint"]

logger = logging.getLogger(__name__)

_LIBRARY_FOLDERS = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, re.Pattern, pathlib.PurePath, type(...))
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_IGNORED = (logging.Logger, type(threading.Lock()), type(threading.RLock()), threading.local)


class _OpaqueError(Exception):
    """Something cannot be looked through; the message says what."""


def fingerprint(function: Any) -> str | None:
    """A digest that two functions share only if they find the same on the same image.

    Args:
        function: An auto-annotation function: an object or a module.

    Returns:
        64 hexadecimal digits, or None if no digest can be made.
    """
    digest = hashlib.sha256()
    try:
        version = getattr(function, "version", None)
        if isinstance(version, str | int):
            _feed(digest, f"{type(function).__module__}.{type(function).__qualname__} version {version}")
        else:
            _Walk(digest).visit(function)
    except _OpaqueError as error:
        logger.info(
            "detections will not be kept: the function holds %s, which cannot be compared between runs;"
            " give the function a `version`",
            error,
        )
        return None
    return digest.hexdigest()


def _feed(digest: Any, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)


class _Walk:
    """Goes through an object, and feeds a digest with all that makes it behave as it does."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self._seen: dict[int, tuple[int, Any]] = {}  # holds the objects: ids of dead ones are used again

    def visit(self, value: Any) -> None:
        if isinstance(value, _PLAIN):
            _feed(self._digest, f"{type(value).__name__} {value!r}")
        elif isinstance(value, _IGNORED):
            pass
        elif id(value) in self._seen:
            _feed(self._digest, f"again {self._seen[id(value)][0]}")
        else:
            self._seen[id(value)] = len(self._seen), value
            self._visit_object(value)

    def _visit_object(self, value: Any) -> None:
        match value:
            case types.ModuleType():
                self._visit_module(value)
            case types.FunctionType():
                self._visit_function(value)
            case types.MethodType():
                self._visit_all(value.__func__, value.__self__)
            case functools.partial():
                self._visit_all(value.func, value.args, value.keywords)
            case property():
                self._visit_all(value.fget)
            case staticmethod() | classmethod():
                self.visit(value.__func__)
            case functools.cached_property():
                self.visit(value.func)
            case type():
                self._visit_class(value)
            case types.BuiltinFunctionType() | Enum():
                _feed(self._digest, repr(value) if isinstance(value, Enum) else value.__qualname__)
            case Mapping():
                _feed(self._digest, f"{len(value)} pairs")
                self._visit_all(*(item for pair in _pairs_of(value) for item in pair))
            case set() | frozenset():
                _feed(self._digest, repr(sorted(map(repr, value))))
            case list() | tuple():
                _feed(self._digest, f"{len(value)} items")
                self._visit_all(*value)
            case np.ndarray() | np.generic():
                self._visit_array(np.asarray(value))
            case _:
                if not self._visit_torch(value):
                    self._visit_state(value)

    def _visit_all(self, *values: Any) -> None:
        for value in values:
            self.visit(value)

    def _visit_array(self, array: np.ndarray[Any, Any]) -> None:
        if array.dtype == object:
            raise _OpaqueError("an array of objects")
        _feed(self._digest, f"{array.dtype} {array.shape}")
        self._digest.update(np.ascontiguousarray(array).tobytes())

    def _visit_torch(self, value: Any) -> bool:
        """Tensors and modules of torch, where it is in use; tells whether it was one of them."""
        torch = sys.modules.get("torch")
        if torch is None:
            return False
        if isinstance(value, torch.Tensor):
            _feed(self._digest, f"{value.dtype} {tuple(value.shape)}")
            data = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            self._digest.update(data.numpy())
        elif isinstance(value, torch.nn.Module):
            self._visit_class(type(value))
            _feed(self._digest, repr(value))
            self._visit_all(*(item for pair in value.state_dict().items() for item in pair))
        elif isinstance(value, torch.device | torch.dtype):
            _feed(self._digest, repr(value))
        else:
            return False
        return True

    def _visit_state(self, value: Any) -> None:
        """Any other object: its class, and what it holds."""
        self._visit_class(type(value))
        state = getattr(value, "__dict__", None)
        slots = [name for name in _slots(type(value)) if not name.startswith("__")]
        if state is None and not slots:
            raise _OpaqueError(f"an object of type {type(value).__module__}.{type(value).__qualname__}")
        self.visit(dict(state or {}))
        for name in slots:
            self._visit_all(name, getattr(value, name, None))

    def _visit_class(self, cls: type) -> None:
        for base in cls.__mro__:
            _feed(self._digest, f"{base.__module__}.{base.__qualname__}")
            if not _is_library(base.__module__):
                self._visit_members(vars(base))

    def _visit_module(self, module: types.ModuleType) -> None:
        _feed(self._digest, module.__name__)
        if not _is_library(module.__name__):
            self._visit_members(vars(module))

    def _visit_members(self, members: Mapping[str, Any]) -> None:
        for name, member in sorted(members.items()):
            if not (name.startswith("__") and name.endswith("__")) or name in ("__init__", "__call__"):
                _feed(self._digest, name)
                if isinstance(member, _DESCRIPTORS) or name == "_abc_impl":
                    continue
                if isinstance(member, types.ModuleType):
                    _feed(self._digest, member.__name__)
                else:
                    self.visit(member)

    def _visit_function(self, function: types.FunctionType) -> None:
        _feed(self._digest, f"{function.__module__}.{function.__qualname__}")
        if _is_library(function.__module__):
            return
        self._visit_code(function.__code__, function.__globals__)
        self._visit_all(function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # a cell that is still empty
                self.visit(cell.cell_contents)

    def _visit_code(self, code: types.CodeType, names: Mapping[str, Any]) -> None:
        """What a function does, and what it finds under the global names that it speaks of."""
        _feed(self._digest, code.co_code)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._visit_code(constant, names)
            else:
                self.visit(constant)
        for name in code.co_names:
            _feed(self._digest, name)
            if name in names and not isinstance(names[name], types.ModuleType):
                self.visit(names[name])


def _is_library(module_name: str | None) -> bool:
    """Whether a module is installed or part of Python: known by its name, not looked through."""
    if (module_name or "").partition(".")[0] == "prefect_cvat":  # also where it is installed for development
        return True
    module = sys.modules.get(module_name or "")
    file = getattr(module, "__file__", None)
    if module_name is None or (module is not None and file is None):
        return module_name != "__main__"
    return file is not None and file.startswith(_LIBRARY_FOLDERS)


def _pairs_of(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    try:
        return list(mapping.items())
    except NotImplementedError:  # such as that of urllib3's pools: only who looks for a key gets one
        raise _OpaqueError(f"a mapping of type {type(mapping).__qualname__}") from None


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        slots = getattr(base, "__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return names
