"""Which imported code is a part of the digest of a function, in several processes."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

HELPER = "def size():\n    return 3\n"

SPEC = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
"""

LOAD = """
import json, sys
from prefect_cvat.auto_annotation.loading import load_function_file
from prefect_cvat.inference.function_digest.digest import digest_of
found = digest_of(load_function_file(sys.argv[1]))
print(json.dumps([found.digest, found.why_none]))
"""


def told_of(path, seed=0, **environment):
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(path.parent), **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


REACHING = {
    "a function of a module": """
        import helper
        def detect(context, image):
            return [rectangle(1, [0, 0, helper.size(), 9])]
    """,
    "by its name": """
        from helper import size
        def detect(context, image):
            return [rectangle(1, [0, 0, size(), 9])]
    """,
    "only when it is called": """
        def detect(context, image):
            import helper
            return [rectangle(1, [0, 0, helper.size(), 9])]
    """,
    "by getattr": """
        import helper
        def detect(context, image):
            return [rectangle(1, [0, 0, getattr(helper, "size")(), 9])]
    """,
    "a module of a package under another name": """
        import package.sub as other
        def detect(context, image):
            return [rectangle(1, [0, 0, other.size(), 9])]
    """,
    "through another module": """
        from package import through
        def detect(context, image):
            return [rectangle(1, [0, 0, through.call(), 9])]
    """,
    "an attribute of the object": """
        import helper
        class Function:
            spec = spec
            def __init__(self):
                self.size = helper.size
            def detect(self, context, image):
                return [rectangle(1, [0, 0, self.size(), 9])]
        create = Function
    """,
    "a closure": """
        import types
        from helper import size
        def create():
            f = size
            def detect(context, image):
                return [rectangle(1, [0, 0, f(), 9])]
            return types.SimpleNamespace(spec=spec, detect=detect)
    """,
    "a class that it derives from": """
        from package.classes import Base
        class Function(Base):
            spec = spec
            def detect(self, context, image):
                return [rectangle(1, [0, 0, self.width(), 9])]
        create = Function
    """,
    "a special method": """
        import helper
        class Sizes:
            def __getitem__(self, index):
                return helper.size()
        class Function:
            spec = spec
            sizes = Sizes()
            def detect(self, context, image):
                return [rectangle(1, [0, 0, self.sizes[0], 9])]
        create = Function
    """,
    "a layer of a model": """
        import torch
        from package.layers import Layer
        class Function:
            spec = spec
            def __init__(self):
                self.model = torch.nn.Sequential(Layer())
            def detect(self, context, image):
                return [rectangle(1, [0, 0, self.model(3), 9])]
        create = Function
    """,
    "an installed package": """
        import installed
        def detect(context, image):
            return [rectangle(1, [0, 0, installed.size(), 9])]
    """,
    "a class of an installed package": """
        from installed.classes import Base
        class Function:
            spec = spec
            def __init__(self):
                self.base = Base()
            def detect(self, context, image):
                return [rectangle(1, [0, 0, self.base.width(), 9])]
        create = Function
    """,
}


@pytest.fixture
def folder(tmp_path):
    """A function, a module and a package next to it, and an installed package, all with the same helper."""
    installed = tmp_path / "site-packages" / "installed"
    for package in (tmp_path / "package", installed):
        write(package / "__init__.py", "from .sub import size\n")
        write(package / "sub.py", HELPER)
        write(package / "through.py", "def call():\n    from .sub import size\n    return size()\n")
        write(
            package / "classes.py", "from . import sub\nclass Base:\n    def width(self): return sub.size()\n"
        )
        write(
            package / "layers.py",
            "import torch\nfrom . import sub\n"
            "class Layer(torch.nn.Module):\n    def forward(self, x): return x * sub.size()\n",
        )
    write(tmp_path / "helper.py", HELPER)
    return tmp_path


def edit_helpers(folder, text):
    for path in (
        folder / "helper.py",
        folder / "package" / "sub.py",
        folder / "site-packages" / "installed" / "sub.py",
    ):
        path.write_text(text)


@pytest.mark.parametrize("source", REACHING.values(), ids=REACHING.keys())
def test_edited_helper_changes_the_digest(folder, source):
    function = folder / "function.py"
    function.write_text(SPEC + textwrap.dedent(source))
    path = os.pathsep.join((str(folder), str(folder / "site-packages")))
    first, why = told_of(function, 1, PYTHONPATH=path)
    assert first is not None, why
    assert told_of(function, 2, PYTHONPATH=path)[0] == first
    edit_helpers(folder, HELPER.replace("3", "4 * 11"))
    assert told_of(function, 1, PYTHONPATH=path)[0] not in (first, None)


def test_comment_in_a_helper_module_does_not_change_the_digest(folder):
    function = folder / "function.py"
    function.write_text(SPEC + textwrap.dedent(REACHING["a function of a module"]))
    first = told_of(function)[0]
    edit_helpers(folder, "# three\n\n" + HELPER)
    assert told_of(function)[0] == first is not None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "import importlib; return importlib.import_module(context.frame_name)",
            "import_module in function.py",
        ),
        ("return eval(context.frame_name)", "eval in function.py, line"),
        ("from package import chosen; return chosen.get(context)", "import_module in chosen.py, line"),
    ],
    ids=["an import by a name", "text that is run", "in a helper"],
)
def test_undeterminable_code_has_no_digest_and_a_reason(folder, body, why):
    write(
        folder / "package" / "chosen.py",
        "from importlib import import_module\ndef get(context): return import_module(context.frame_name)\n",
    )
    function = folder / "function.py"
    function.write_text(f"{SPEC}\ndef detect(context, image):\n    {body}\n")
    digest, told = told_of(function)
    assert digest is None
    assert why in told
    assert told.endswith("give it a `version`")


def test_framework_is_represented_by_its_version(folder, monkeypatch):
    from prefect_cvat.inference.function_digest import imported_code as reached_code

    monkeypatch.setattr(reached_code, "MAX_BYTES", 0)
    reached = reached_code.ReachedCode()
    for module in ("torch.nn.functional", "PIL.Image", "json", "numpy"):
        reached.add(module)
    names = [line.split()[0] for line in reached.lines()]
    assert names == ["numpy", "pillow", "python", "torch"]
    assert not any("+" in line for line in reached.lines())


def test_code_is_inspected_without_imports(folder, monkeypatch):
    from prefect_cvat.inference.function_digest.imported_code import ReachedCode

    monkeypatch.syspath_prepend(str(folder))
    write(folder / "loud.py", "import package.sub\nraise SystemExit('was run')\n")
    reached = ReachedCode()
    reached.add("loud")
    assert [line.split()[0] for line in reached.lines()] == ["loud", "package", "package.sub"]
    assert not {"loud", "package"} & set(sys.modules)


def test_code_beyond_the_limit_has_no_digest(folder, monkeypatch):
    from prefect_cvat.inference.function_digest import imported_code as reached_code
    from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError

    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(reached_code, "MAX_BYTES", 10)
    with pytest.raises(UnknownCodeError, match=r"more code than .* \(at module package"):
        reached_code.ReachedCode().add("package.sub")
