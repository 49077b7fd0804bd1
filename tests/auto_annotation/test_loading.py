import pytest

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.loading import (
    builtin_functions,
    load_function,
    load_function_file,
    load_function_module,
    parse_parameter,
)
from prefect_cvat.exceptions import FunctionLoadError

SOURCE = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
class Function:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def __init__(self, size: int, name: str = "x") -> None:
        self.size, self.name = size, name
create = Function
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "my_functions").mkdir()
    (tmp_path / "my_functions" / "__init__.py").touch()
    (tmp_path / "my_functions" / "boxes.py").write_text(SOURCE)
    (tmp_path / "my_functions" / "empty.py").touch()
    (tmp_path / "my_functions" / "needs.py").write_text("import no_such_library")
    (tmp_path / "my_functions" / "raises.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "my_functions"


def test_a_module_is_loaded_with_its_parameters(package):
    function = load_function_module("my_functions.boxes", {"size": 3})
    assert (function.size, function.name) == (3, "x")
    assert load_function_file(package / "boxes.py", {"size": 4}).size == 4


@pytest.mark.parametrize(
    ("module", "parameters", "error", "message"),
    [
        ("no_such_module", {}, FunctionLoadError, "there is no module 'no_such_module'"),
        ("my_functions.none", {}, FunctionLoadError, "there is no module 'my_functions.none'"),
        ("my_functions.needs", {}, FunctionLoadError, "needs the module 'no_such_library', which is missing"),
        ("my_functions.raises", {}, FunctionLoadError, "cannot be imported: ZeroDivisionError"),
        ("my_functions.empty", {}, BadFunctionError, "neither a 'spec' nor a 'create'"),
        ("my_functions.empty", {"a": 1}, FunctionLoadError, "takes no parameters"),
        ("my_functions.boxes", {}, FunctionLoadError, r"missing a required argument: 'size'.*create\(size"),
        ("my_functions.boxes", {"size": 1, "x": 2}, FunctionLoadError, "unexpected keyword argument 'x'"),
        (
            "my_functions.boxes",
            {"size": 1, "batch_size": 2},
            FunctionLoadError,
            r"function 'my_functions.boxes' takes no batch_size; its create is called as create\(size",
        ),
        (
            "my_functions.empty",
            {"batch_size": 2},
            FunctionLoadError,
            "'my_functions.empty' takes no batch_size",
        ),
    ],
)
def test_load_errors_contain_the_reason(package, module, parameters, error, message):
    with pytest.raises(error, match=message):
        load_function_module(module, parameters)


def test_only_listed_names_are_allowed(package, monkeypatch):
    assert "nanodet_detection" in builtin_functions()
    on_tiles = load_function("tiled", {"function": load_function_file(package / "boxes.py", {"size": 3})})
    assert [label.name for label in on_tiles.spec.labels] == ["car"]
    with pytest.raises(
        FunctionLoadError, match="'my_functions.boxes' is not allowed.*PREFECT_CVAT_FUNCTION_MODULES"
    ):
        load_function("my_functions.boxes", {"size": 3})
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "other, my_functions")
    assert load_function("my_functions.boxes", {"size": 3}).size == 3
    with pytest.raises(FunctionLoadError, match="not allowed"):
        load_function("my_functions_of_somebody.boxes")
    with pytest.raises(FunctionLoadError, match="there is no function 'nanodet'"):
        load_function("nanodet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=int:3", ("a", 3)),
        ("a=float:0.5", ("a", 0.5)),
        ("a=str:x:y=z", ("a", "x:y=z")),
        ("a=bool:true", ("a", True)),
        ("a=bool:0", ("a", False)),
        ('a=json:{"1": "person"}', ("a", {"1": "person"})),
    ],
)
def test_parameters_are_parsed(text, expected):
    assert parse_parameter(text) == expected


@pytest.mark.parametrize("text", ["a", "a=3", "=int:3", "a=int:x", "a=bool:maybe", "a=list:3", "a=json:{"])
def test_malformed_parameters_are_refused(text):
    with pytest.raises(ValueError, match="a|int:3"):
        parse_parameter(text)


@pytest.mark.parametrize(
    "annotation",
    ["Unpack[NoSuchName]", "Unpack[3 + 'a']", "Unpack[", "Unpack[sys.no_such_attribute]", "Unpack[1 / 0]"],
)
def test_annotations_that_cannot_be_evaluated_count_as_none(tmp_path, annotation):
    file = tmp_path / "annotated.py"
    file.write_text(
        "import sys\nfrom flow_functions.on_device import create as on_device\n"
        "def create(device: 'NoSuchName' = 'cpu', **options):\n"
        "    return on_device(device + options['suffix'])\n"
        f"create.__annotations__['options'] = {annotation!r}\n"
    )
    assert load_function_file(file, {"suffix": ":1"}).device == "cpu:1"


def test_options_are_those_of_a_type_that_only_a_type_checker_imports(tmp_path):
    file = tmp_path / "annotated.py"
    file.write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING, Any\n"
        "from flow_functions.on_device import create as on_device\n"
        "if TYPE_CHECKING:\n    from typing import Unpack\n    from somewhere import Options\n"
        "def create(**options: Unpack[Options]) -> Any:\n    return on_device(**options)\n"
    )
    assert load_function_file(file, {"device": "cuda:1"}).device == "cuda:1"
