"""The code that some code reaches by its imports, so that it can be compared between runs.

What belongs to Python or to a well-known framework counts by its version. All other modules count with
their content, and with what they import in turn, also where that happens only inside of a function. Nothing
is imported for that.
"""

from __future__ import annotations

import dis
import hashlib
import sys
import types
import weakref
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect_cvat.auto_annotation.function_calls import is_installed

__all__ = ["ReachedCode", "UnknownCodeError", "code_parts", "imports"]

MAX_BYTES = 30_000_000
"""Maximum amount of code that is read: some seconds."""

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

_BY_NAME_AT_RUN_TIME = frozenset(
    {"import_module", "spec_from_file_location", "exec_module", "load_module", "run_path", "run_module"}
)
_BUILTINS_THAT_RUN_TEXT = frozenset({"eval", "exec", "__import__"})
_IMPORT_NAME = dis.opmap["IMPORT_NAME"]
_EXAMINED: weakref.WeakKeyDictionary[types.ModuleType, tuple[str, tuple[str, ...]]] = (
    weakref.WeakKeyDictionary()
)


class UnknownCodeError(Exception):
    """It cannot be determined what some code does; the message says why."""


class ReachedCode:
    """Modules that some code reaches, each with what it counts by."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._versions: set[str] = set()
        self._contents: dict[str, str] = {}
        self._bytes_left = MAX_BYTES

    def add(self, name: str, spec: ModuleSpec | None = None) -> None:
        """Add a module, and all that it reaches.

        Args:
            name: Its full name.
            spec: Where it comes from, if that is known.

        Raises:
            UnknownCodeError: It cannot be determined what it does.
        """
        waiting = [(name, spec)]
        while waiting:
            name, spec = waiting.pop()
            if name in self._seen or name == "__main__":
                continue
            self._seen.add(name)
            spec = spec or _find_spec(name)
            if known_version := _known_by_version(name, spec):
                self._versions.add(known_version)
            elif spec is None:
                self._contents[name] = "is not there"
            else:
                self._contents[name], reached = self._content(name, spec)
                waiting += ((each, None) for each in (*_parents(name), *reached))

    def add_own(self, name: str) -> None:
        """Add a module as `add` does, unless it counts by its version.

        Raises:
            UnknownCodeError: It cannot be determined what it does, or where it comes from.
        """
        if name == "__main__":
            raise UnknownCodeError("code that was typed in or is run as a script")
        if not _known_by_version(name, _find_spec(name)):
            self.add(name)

    def lines(self) -> list[str]:
        """Each module with what it counts by, in order; the same in every process and on every machine."""
        modules = (f"{name} {content}" for name, content in self._contents.items())
        return [*sorted(self._versions), *sorted(modules)]

    def _content(self, name: str, spec: ModuleSpec) -> tuple[str, tuple[str, ...]]:
        """A digest of a module's code, and what it imports."""
        module = sys.modules.get(name)
        if getattr(module, "__spec__", None) is not spec:
            module = None
        # once it is loaded, a change of its file changes nothing in this process
        if module is not None and module in _EXAMINED:
            return _EXAMINED[module]
        size = _size(spec)
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise UnknownCodeError(f"more code than can be read (at module {name})")
        found = _examine(name, spec)
        if module is not None:
            _EXAMINED[module] = found
        return found


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
    spec = _find_spec(package)
    if spec is None or spec.submodule_search_locations is None or _known_by_version(package, spec):
        return None
    full = f"{package}.{name}"
    return full if _find_spec(full) is not None else None


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


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _find_spec(name: str) -> ModuleSpec | None:
    """Where a module comes from, without importing anything."""
    if (module := sys.modules.get(name)) is not None:
        spec: ModuleSpec | None = getattr(module, "__spec__", None)
        if spec is not None:
            return spec
        file = getattr(module, "__file__", None)
        if file is not None:
            return ModuleSpec(name, SourceFileLoader(name, file), origin=file)
        return None
    parent = name.rpartition(".")[0]
    if not parent:
        return _ask_finders(name)
    of_parent = _find_spec(parent)
    if of_parent is None or of_parent.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, of_parent.submodule_search_locations)


def _ask_finders(name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find_spec is None else find_spec(name, None)
        if spec is not None:
            return spec
    return None


def _known_by_version(name: str, spec: ModuleSpec | None) -> str | None:
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


_PYTHON = f"python {sys.version_info.major}.{sys.version_info.minor}"


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


def _size(spec: ModuleSpec) -> int:
    try:
        return Path(spec.origin or "").stat().st_size if spec.has_location else 0
    except OSError:
        return 0


def _examine(name: str, spec: ModuleSpec) -> tuple[str, tuple[str, ...]]:
    if spec.loader is None or spec.origin is None:  # a package without code of its own, or made by other code
        return "has no code", ()
    digest = hashlib.sha256()
    reached: list[str] = []
    get_code = getattr(spec.loader, "get_code", None)
    try:
        code = None if get_code is None else get_code(name)
        if code is None:  # compiled to machine code
            digest.update(Path(spec.origin).read_bytes())
    except (OSError, ImportError, SyntaxError, ValueError) as error:
        raise UnknownCodeError(f"module {name}, which cannot be read ({type(error).__name__})") from error
    if code is not None:
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        for each in _nested(code):
            for part in (*code_parts(each), _constants(each.co_consts).encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
            reached += imports(each, package)
    return digest.hexdigest(), tuple(dict.fromkeys(reached))


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _constants(value: object) -> str:
    match value:
        case types.CodeType():
            return f"code {value.co_name}"
        case tuple():
            return f"({', '.join(map(_constants, value))})"
        case frozenset():
            return f"{{{', '.join(sorted(map(_constants, value)))}}}"  # in any order, by process
        case _:
            return repr(value)
