"""Several files of functions in one process."""

import pickle

from prefect_cvat.auto_annotation.loading import load_function_file

CODE = """
import dataclasses
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
spec = DetectionFunctionSpec(labels=[label_spec({label!r}, 1)])
@dataclasses.dataclass
class State:
    name: str = {label!r}
def detect(context, image):
    return []
"""


def test_modules_of_two_files_do_not_replace_each_other(tmp_path):
    functions = {}
    for label in ("one", "two", "three"):
        (tmp_path / f"{label}.py").write_text(CODE.format(label=label))
        functions[label] = load_function_file(tmp_path / f"{label}.py")
    assert len({function.__name__ for function in functions.values()}) == 3
    for label, function in functions.items():
        assert pickle.loads(pickle.dumps(function.State())).name == label


def test_file_that_is_loaded_again_keeps_its_name(tmp_path):
    file = tmp_path / "one.py"
    file.write_text(CODE.format(label="one"))
    first = load_function_file(file)
    file.write_text(CODE.format(label="another"))
    second = load_function_file(file)
    assert (first.__name__, second.spec.labels[0].name) == (second.__name__, "another")
