"""The configuration file of the gateway."""

import pytest

from prefect_cvat.gateway import ServedFunction, read_configuration

WHOLE = """
port: 9000
preload: true
functions:
  - name: people
    title: People
    description: Finds people.
    help_text: Run it on each frame.
    function: nanodet_detection
    function_parameters:
      score_threshold: 0.3
      runtime: str:torch
    device: cpu
    conf_threshold: 0.5
    label_thresholds: {person: 0.6}
    label_map: {person: human, dog: null}
  - function_file: mine.py
  - function_module: my.functions
"""


def test_everything_that_a_file_can_say(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(WHOLE)
    configuration = read_configuration(file)
    assert (configuration.port, configuration.preload, configuration.host) == (9000, True, "127.0.0.1")
    people, mine, module = configuration.functions
    assert people.create_parameters == {"score_threshold": 0.3, "runtime": "torch", "device": "cpu"}
    assert people.label_map == {"person": "human", "dog": None}
    assert (mine.name, mine.function_file) == ("mine", tmp_path / "mine.py")
    assert module.name == "my.functions"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("functions: [", "cannot be read"),
        ("[]", "must be an object with a list 'functions'"),
        ("functions: {}", "must be an object with a list 'functions'"),
        ("functions: [nanodet]", r"functions\[0\] must be an object, not 'nanodet'"),
        ("functions: [{name: x}]", r"functions\[0\] \(x\): give one of function, function_module"),
        ("functions: [{function: a, function_module: b}]", "give one of function"),
        ("functions: [{function: a, name: a b}]", "'a b' must consist of letters, digits"),
        ("functions: [{function: a}, {function: a}]", "several functions named 'a'"),
        ("functions: [{function: a, titel: x}]", "there is no option 'titel'"),
        ("functions: [{function: a, conf_threshold: 2}]", "must be None or a number between 0 and 1, not 2"),
        ("functions: [{function: a, function_parameters: {m: large}}]", "has no type"),
        ("functions: []\nport: -1", "port must be 0 or more"),
        ("functions: []\nprot: 1", "there is no option 'prot'"),
        ("functions: [{function: [1]}]", "function must be a valid string"),
    ],
)
def test_invalid_files_name_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_configuration(file)
    assert str(file) in str(error.value)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_configuration(tmp_path / "gateway.yaml")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"function_file": "/x/my file.py"}, "my-file"),
        ({"function": "nanodet_detection"}, "nanodet_detection"),
        ({"function_module": "a.b", "name": "c"}, "c"),
    ],
)
def test_name_follows_from_the_function(fields, name):
    assert ServedFunction(**fields).name == name
