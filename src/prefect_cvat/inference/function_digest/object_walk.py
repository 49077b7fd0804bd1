"""Going through a function and all that it holds: whatever determines its behavior."""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
import re
import sys
import threading
import types
import typing
from collections.abc import Mapping, Set
from enum import Enum
from typing import Any

import numpy as np

from prefect_cvat.auto_annotation.function_calls import is_installed
from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError, code_parts, imports
from prefect_cvat.inference.function_digest.imported_code import ReachedCode

__all__ = ["ObjectWalk", "feed"]

_TYPE_HINTS = (types.UnionType, types.GenericAlias, typing.TypeVar, typing.ParamSpec, typing.NewType)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, re.Pattern, pathlib.PurePath, type(...))
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_IGNORED = (logging.Logger, type(threading.Lock()), type(threading.RLock()), threading.local)


def feed(digest: Any, text: str | bytes) -> None:
    """Add a text to a digest, with its length before it."""
    data = text.encode() if isinstance(text, str) else text
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)


class ObjectWalk:
    """Traverses an object, and feeds a digest with everything that determines its behavior."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self._seen: dict[int, tuple[int, Any]] = {}  # holds the objects, since ids of deleted ones are reused
        self._reached = ReachedCode()

    def take(self, function: object) -> None:
        """Feed the digest with a function and all code that it reaches."""
        self.visit(function)
        for line in self._reached.lines():
            feed(self._digest, line)

    def visit(self, value: Any) -> None:
        """Feed the digest with an object and all that it holds; objects that were visited, by number only."""
        if isinstance(value, _PLAIN):
            feed(self._digest, f"{type(value).__name__} {value!r}")
        elif isinstance(value, _IGNORED):
            pass
        elif id(value) in self._seen:
            feed(self._digest, f"again {self._seen[id(value)][0]}")
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
                self._visit_all(value.fget, value.fset)
            case staticmethod() | classmethod():
                self.visit(value.__func__)
            case functools.cached_property():
                self.visit(value.func)
            case type():
                self._visit_class(value)
            case types.BuiltinFunctionType():
                feed(self._digest, value.__qualname__)
                if value.__module__ is None:  # a method of an object
                    self.visit(value.__self__)
                self._reach(value.__module__)
            case Enum():
                feed(self._digest, repr(value))
                self._visit_class(type(value))
            case Mapping():
                feed(self._digest, f"{len(value)} pairs")
                self._visit_all(*(item for pair in _pairs_of(value) for item in pair))
            case _ if isinstance(value, _TYPE_HINTS) or type(value).__module__ == "typing":
                feed(self._digest, repr(value))
            case set() | frozenset():
                self._visit_set(value)
            case list() | tuple():
                feed(self._digest, f"{len(value)} items")
                self._visit_all(*value)
            case np.ndarray() | np.generic():
                self._visit_array(np.asarray(value))
            case _:
                if not self._visit_torch(value):
                    self._visit_state(value)

    def _visit_all(self, *values: Any) -> None:
        for value in values:
            self.visit(value)

    def _visit_set(self, value: Set[Any]) -> None:
        if strange := next((each for each in value if not isinstance(each, (*_PLAIN, tuple, Enum))), None):
            raise UnknownCodeError(f"a set of {type(strange).__qualname__}")  # sets have no order
        feed(self._digest, repr(sorted(map(repr, value))))

    def _visit_array(self, array: np.ndarray[Any, Any]) -> None:
        if array.dtype == object:
            raise UnknownCodeError("an array of objects")
        feed(self._digest, f"{array.dtype} {array.shape}")
        self._digest.update(np.ascontiguousarray(array).tobytes())

    def _visit_torch(self, value: Any) -> bool:
        """Visit a tensor or module of torch; False if the value is neither."""
        torch = sys.modules.get("torch")
        if torch is None:
            return False
        if isinstance(value, torch.Tensor):
            feed(self._digest, f"{value.dtype} {tuple(value.shape)}")
            data = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            self._digest.update(data.numpy())
        elif isinstance(value, torch.nn.Module):
            self._visit_model(value)
        elif isinstance(value, torch.device | torch.dtype):
            feed(self._digest, repr(value))
        else:
            return False
        return True

    def _visit_model(self, model: Any) -> None:
        """Visit a module of torch: its code, its settings and its weights."""
        feed(self._digest, repr(model))
        for module in model.modules():
            self._visit_class(type(module))
            is_own = not _is_library(type(module).__module__)
            for name, value in vars(module).items():
                # names with _ are torch's, or caches; of a library's modules only plain values count
                if not name.startswith("_") and name != "training" and (is_own or isinstance(value, _PLAIN)):
                    self._visit_all(name, value)
        self._visit_all(*(item for pair in model.state_dict().items() for item in pair))

    def _visit_state(self, value: Any) -> None:
        """Visit any other object: its class and its attributes."""
        self._visit_class(type(value))
        state = getattr(value, "__dict__", None)
        slots = [name for name in _slots(type(value)) if not name.startswith("__")]
        if state is None and not slots:
            raise UnknownCodeError(f"an object of type {type(value).__module__}.{type(value).__qualname__}")
        self.visit(dict(state or {}))
        for name in slots:
            self._visit_all(name, getattr(value, name, None))

    def _visit_class(self, cls: type) -> None:
        if type(cls) is not type:
            self.visit(type(cls))
        for base in cls.__mro__:
            feed(self._digest, f"{base.__module__}.{base.__qualname__}")
            if _is_library(base.__module__):
                self._reach(base.__module__)
            else:
                self._visit_members(vars(base))

    def _visit_module(self, module: types.ModuleType) -> None:
        feed(self._digest, module.__name__)
        self._reach(module.__name__, getattr(module, "__spec__", None))
        if not _is_library(module.__name__):
            self._visit_members(vars(module))

    def _visit_members(self, members: Mapping[str, Any]) -> None:
        for name, member in sorted(members.items()):
            is_special = name.startswith("__") and name.endswith("__")
            if not is_special or isinstance(member, types.FunctionType | classmethod | staticmethod):
                feed(self._digest, name)
                if isinstance(member, _DESCRIPTORS) or name == "_abc_impl":
                    continue
                if isinstance(member, types.ModuleType):
                    self._reach(member.__name__, getattr(member, "__spec__", None))
                else:
                    self.visit(member)

    def _visit_function(self, function: types.FunctionType) -> None:
        feed(self._digest, f"{function.__module__}.{function.__qualname__}")
        names = function.__globals__
        self._reach(str(names.get("__name__", function.__module__)), names.get("__spec__"))
        if _is_library(function.__module__):
            return
        self._visit_code(function.__code__, names)
        self._visit_all(function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # a cell that is still empty
                self.visit(cell.cell_contents)

    def _visit_code(self, code: types.CodeType, names: Mapping[str, Any]) -> None:
        """Visit the code of a function, and the globals that it names."""
        for part in code_parts(code):
            feed(self._digest, part)
        for module in imports(code, str(names.get("__package__") or "")):
            self._reach(module)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._visit_code(constant, names)
            else:
                self.visit(constant)
        for name in code.co_names:
            if name in names:
                self._visit_named(names[name], code.co_names)

    def _visit_named(self, value: Any, names: tuple[str, ...], within: tuple[str, ...] = ()) -> None:
        """Visit the value of a global name; of a user's module, its members with one of the names."""
        if not isinstance(value, types.ModuleType):
            self.visit(value)
            return
        self._reach(value.__name__, getattr(value, "__spec__", None))
        if _is_library(value.__name__) or value.__name__ in within:
            return
        for name in names:
            if name in vars(value):
                self._visit_named(vars(value)[name], names, (*within, value.__name__))

    def _reach(self, module: str | None, spec: Any = None) -> None:
        if module is not None:
            self._reached.add(module, spec)


def _is_library(module_name: str | None) -> bool:
    """Whether a module is installed or part of Python: its name stands for its code."""
    if (module_name or "").partition(".")[0] == "prefect_cvat":  # also where it is installed for development
        return True
    module = sys.modules.get(module_name or "")
    file = getattr(module, "__file__", None)
    if module_name is None or (module is not None and file is None):
        return module_name != "__main__"
    return is_installed(file)


def _pairs_of(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    try:
        return list(mapping.items())
    except NotImplementedError:  # such as the pools of urllib3, which cannot be listed
        raise UnknownCodeError(f"a mapping of type {type(mapping).__qualname__}") from None


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        slots = getattr(base, "__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return names
