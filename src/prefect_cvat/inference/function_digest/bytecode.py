"""What compiled code does, and which modules it imports."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect_cvat.inference.function_digest.known_versions import known_by_version
from prefect_cvat.inference.function_digest.module_search import find_module

__all__ = ["UnknownCodeError", "code_parts", "constant_text", "imports", "nested_code"]

_BY_NAME_AT_RUN_TIME = frozenset(
    {"import_module", "spec_from_file_location", "exec_module", "load_module", "run_path", "run_module"}
)
_BUILTINS_THAT_RUN_TEXT = frozenset({"eval", "exec", "__import__"})
_IMPORT_NAME = dis.opmap["IMPORT_NAME"]


class UnknownCodeError(Exception):
    """It cannot be determined what some code does; the message says why."""


def code_parts(code: types.CodeType) -> Iterator[bytes]:
    """All that makes code behave as it does but for its constants: neither its names of files nor lines."""
    yield code.co_code
    yield code.co_exceptiontable
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield repr((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode()


def imports(code: types.CodeType, package: str) -> Iterator[str]:
    """The modules that code imports, by their full names; of nested functions only where asked for them.

    Raises:
        UnknownCodeError: It imports something by a name that is only known when it runs.
    """
    _check_static(code)
    if _IMPORT_NAME not in code.co_code[::2]:
        return
    before: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, names = before[-2:]
            try:
                base = "." * level + instruction.argval
                base = _resolve(base, package)
            except ImportError:
                continue  # it would fail as well when it runs
            yield base
            for name in names or ():
                if name != "*" and (member := _submodule(base, name)):
                    yield member
        elif instruction.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            before.append(instruction.argval)


def _resolve(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parents = package.split(".") if package else []
    if level > len(parents):
        raise ImportError(name)
    base = parents[: len(parents) - level + 1]
    return ".".join([*base, *([name[level:]] if name[level:] else [])])


def _submodule(package: str, name: str) -> str | None:
    """The full name of what is imported from a package, if it is a module and not something in it."""
    spec = find_module(package)
    if spec is None or spec.submodule_search_locations is None or known_by_version(package, spec):
        return None
    full = f"{package}.{name}"
    return full if find_module(full) is not None else None


def _check_static(code: types.CodeType) -> None:
    names = set(code.co_names)
    found = names & _BY_NAME_AT_RUN_TIME
    if names & _BUILTINS_THAT_RUN_TEXT:
        found |= {
            instruction.argval
            for instruction in dis.get_instructions(code)
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            and instruction.argval in _BUILTINS_THAT_RUN_TEXT
        }
    if found:
        where = f"{Path(code.co_filename).name}, line {code.co_firstlineno}"
        raise UnknownCodeError(f"code that is chosen only when it runs ({min(found)} in {where})")


def nested_code(code: types.CodeType) -> Iterator[types.CodeType]:
    """Code, and that of all functions and classes in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested_code(constant)


def constant_text(value: object) -> str:
    """The constants of code as a text that is the same in every process."""
    match value:
        case types.CodeType():
            return f"code {value.co_name}"
        case tuple():
            return f"({', '.join(map(constant_text, value))})"
        case frozenset():
            return f"{{{', '.join(sorted(map(constant_text, value)))}}}"  # in any order, by process
        case _:
            return repr(value)
