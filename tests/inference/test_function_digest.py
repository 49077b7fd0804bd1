"""Which functions have the same digest, in several processes."""

import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from command_line import run_code
from prefect_cvat import Client
from prefect_cvat.inference.function_digest.digest import digest_of

SCRIPT = """
import json, sys
from prefect_cvat.inference.function_digest.digest import digest_of
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

THRESHOLD = 0.5

def helper(x):
    return x in {"a", "b", "c"}

class Function:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def __init__(self, size):
        self.size = size
    def detect(self, context, image):
        return [rectangle(1, [0, 0, self.size, self.size], score=THRESHOLD)] if helper("a") else []

print(digest_of(Function(3)).digest)
"""


def digest(function):
    return digest_of(function).digest


def digest_of_script(source, seed=0):
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": str(seed)},
    )
    return done.stdout.strip()


def test_digest_is_the_same_in_every_process():
    first, second = (digest_of_script(SCRIPT, seed) for seed in (1, 2))
    assert first == second
    assert len(first) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("THRESHOLD = 0.5", "THRESHOLD = 0.6"),
        ("Function(3)", "Function(4)"),
        ('"car"', '"cat"'),
        ('{"a", "b", "c"}', '{"a", "b", "d"}'),
        ("score=THRESHOLD", "score=1 - THRESHOLD"),
    ],
)
def test_digest_changes_with_code_constants_and_state(old, new):
    assert old in SCRIPT
    assert digest_of_script(SCRIPT) != digest_of_script(SCRIPT.replace(old, new))


def test_version_of_a_function_replaces_its_digest():
    def function(version, **state):
        return SimpleNamespace(version=version, **state)

    assert digest(function("1", open_file=sys.stdin)) == digest(function("1"))
    assert digest(function("1")) != digest(function("2"))


def test_digest_depends_on_weights():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    before = digest(SimpleNamespace(model=model, array=np.arange(3), lock=threading.Lock()))
    assert before == digest(SimpleNamespace(model=model, array=np.arange(3), lock=threading.Lock()))
    assert before != digest(SimpleNamespace(model=model, array=np.arange(4), lock=threading.Lock()))
    with torch.no_grad():
        model.weight[0, 0] += 1e-3
    assert before != digest(SimpleNamespace(model=model, array=np.arange(3), lock=threading.Lock()))


def test_half_precision_and_reference_cycles_have_a_digest():
    thing = SimpleNamespace(weights=torch.zeros(3, dtype=torch.bfloat16))
    thing.itself = thing
    assert digest(thing) is not None


def test_uninspectable_functions_have_no_digest():
    assert digest(SimpleNamespace(session=iter([1]))) is None


def test_digest_contains_the_code_of_a_module(tmp_path):
    from prefect_cvat.auto_annotation.loading import load_function_file

    path = tmp_path / "function.py"
    source = """
        from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
        SIZE = 3
        spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
        def detect(context, image):
            return [] if SIZE else None
    """
    path.write_text(textwrap.dedent(source))
    first, again = digest(load_function_file(path)), digest(load_function_file(path))
    assert first == again is not None
    path.write_text(textwrap.dedent(source.replace("SIZE = 3", "SIZE = 4 ")))
    assert digest(load_function_file(path)) != first


def test_function_with_a_client_has_no_digest(sandbox):
    with Client(sandbox.url) as client:

        def detect(context, image):
            return client

        client.json("GET", "/api/server/about")  # opens a connection
        assert digest(SimpleNamespace(spec=None, detect=detect)) is None


OWN_MODEL = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from own_layer import Layer
from prefect_cvat.auto_annotation.functions.torchvision_detection import create
from prefect_cvat.inference.function_digest.digest import digest_of
torch.manual_seed(0)
print(digest_of(create(model=torch.nn.Sequential(Layer(), torch.nn.Linear(2, 2)), label_map={1: "car"})).digest)
"""


def test_digest_of_a_built_in_function_contains_the_code_of_a_custom_model(tmp_path):
    def printed_digest(size):
        (tmp_path / "own_layer.py").write_text(
            f"import torch\nclass Layer(torch.nn.Module):\n    def forward(self, images): return {size}\n"
        )
        done = run_code(OWN_MODEL, tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = printed_digest("5")
    assert len(first.strip()) == 64
    assert printed_digest("5") == first
    assert printed_digest("images * 6") != first
