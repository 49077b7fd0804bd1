"""Libraries of extras: who imports them, and the messages where they are missing."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from prefect_cvat.auto_annotation.functions import EXTRAS
from prefect_cvat.exceptions import FunctionLoadError, MissingLibraryError
from prefect_cvat.extras import LIBRARIES, explain_missing, find_remedy, import_library

ROOT = Path(__file__).parents[1]
FUNCTIONS = "prefect_cvat.auto_annotation.functions"
LIBGL = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")


def imports_when_loaded(path):
    """The modules that a module imports when it is imported itself."""
    waiting = list(ast.parse(path.read_bytes()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def libraries_of(path):
    return {name.partition(".")[0] for name in imports_when_loaded(path)} & LIBRARIES.keys()


def libraries_of_function(name, seen=()):
    """What a module of functions imports, with the modules next to it that it imports."""
    path = ROOT / "functions" / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file() or name in seen:
        return set()
    found = libraries_of(path)
    for imported in imports_when_loaded(path):
        if imported.startswith(f"{FUNCTIONS}."):
            found |= libraries_of_function(imported.removeprefix(f"{FUNCTIONS}."), (*seen, name))
    return found


@pytest.mark.parametrize("folder", ["src/prefect_cvat", "flows", "tasks", "deployments"])
def test_no_module_needs_a_library_of_an_extra_to_be_imported(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    assert {str(path): found for path in paths if (found := libraries_of(path))} == {}


def test_each_built_in_function_names_its_extra():
    modules = {path.stem for path in (ROOT / "functions").glob("[!_]*.py")}
    assert modules == EXTRAS.keys()
    of_torch = {name for name in modules if "torch" in libraries_of_function(name)}
    assert of_torch == {name for name, extra in EXTRAS.items() if extra not in (None, "onnx", "video")}


def test_the_message_names_what_needs_the_library_and_the_extra():
    with pytest.raises(
        MissingLibraryError,
        match=r"""^models need nosuch \(No module named 'nosuch'\); install it: pip install "prefect-cvat\[x,y\]"$""",
    ):
        import_library("nosuch", "models", extra="x,y")
    with pytest.raises(FunctionLoadError, match=r"^this function needs nosuch \("):
        import_library("nosuch.part", "this function", extra="x", raises=FunctionLoadError)


def test_without_the_sdk_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)  # as if it were not there
    monkeypatch.delitem(sys.modules, "prefect_cvat.for_cvat_sdk", raising=False)
    with pytest.raises(MissingLibraryError, match=r'install it: pip install "prefect-cvat\[cvat-sdk\]"$'):
        importlib.import_module("prefect_cvat.for_cvat_sdk")


def test_opencv_without_libgl_is_not_reported_as_missing():
    text = explain_missing(LIBGL, "trackers")
    assert "apt-get install libgl1 libglib2.0-0" in text
    assert "pip install opencv-python-headless" in text
    assert "prefect-cvat[" not in text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LIBGL, "apt-get install"),
        (ImportError("libcudnn.so.9: cannot open shared object file: No such file"), "not libcudnn.so.9"),
        (ModuleNotFoundError("No module named 'torch.x'", name="torch.x"), r'"prefect-cvat[pytorch]"'),
        (ModuleNotFoundError("No module named 'other'", name="other"), None),
        (ImportError("cannot import name 'x' from 'torch'", name="torch"), None),
        (ValueError("libGL.so.1: cannot open shared object file"), None),
    ],
)
def test_the_remedy_is_named_where_it_is_known(error, expected):
    remedy = find_remedy(error)
    assert remedy is None if expected is None else expected in remedy


def test_an_installed_library_whose_import_fails_is_not_to_be_installed():
    text = explain_missing(ImportError("cannot import name 'x' from 'trackers'"), "trackers")
    assert "pip install" not in text
    assert "it is installed" in text
