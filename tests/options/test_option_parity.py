"""Each option has the same name, default, bounds and description in Python, on the command line, in the form."""

import inspect
from importlib.metadata import version
from types import NoneType
from typing import get_args, get_type_hints

import click
import pytest
from pydantic_core import to_jsonable_python

import prefect_cvat
from prefect_cvat.cli.commands.annotate import annotate
from prefect_cvat.cli.commands.evaluate import evaluate
from prefect_cvat.cli.commands.export import export
from prefect_cvat.cli.commands.learn import learn
from prefect_cvat.cli.commands.refine import refine
from prefect_cvat.cli.commands.tasks import tasks
from prefect_cvat.cli.commands.track import track
from prefect_cvat.options import keyword_types as keywords
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.evaluation_options import ComparisonOptions, EvaluationOptions
from prefect_cvat.options.execution_options import (
    ExecutionOptions,
    FetchOptions,
    ModelOptions,
    ReviewOptions,
    TrackReviewOptions,
)
from prefect_cvat.options.existing_annotation_options import ExistingOptions, ReplacementOptions
from prefect_cvat.options.export_options import ExportOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.learn_options import LearnOptions
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.task_selection_options import TaskSelection
from prefect_cvat.options.track_options import TrackOptions

GROUPS = {
    annotate: (
        LabelOptions,
        AnnotationOptions,
        ExistingOptions,
        FrameOptions,
        ExecutionOptions,
        ReviewOptions,
    ),
    tasks: (TaskSelection,),
    track: (
        TrackOptions,
        ShapeTrackingOptions,
        LabelOptions,
        ReplacementOptions,
        FrameOptions,
        TrackReviewOptions,
    ),
    learn: (LearnOptions,),
    refine: (RefineOptions, FetchOptions),
    evaluate: (EvaluationOptions, ComparisonOptions, LabelOptions, ExecutionOptions),
    export: (ExportOptions, LabelOptions, FrameOptions, ExecutionOptions),
}
MODELS = [
    *{group: None for groups in GROUPS.values() for group in groups},
    ModelOptions,
]
PYTHON = {
    "annotate_task": (keywords.AnnotateKeywords, (Options,)),
    "track_task": (keywords.TrackKeywords, (Options,)),
    "refine_task": (keywords.RefineKeywords, (RefineOptions, Options)),
}


def form_of(model):
    return model.model_json_schema()["properties"]


def bounds_in_form(schema):
    """The numbers of a JSON schema that bound a value: lowest, highest, and whether the lowest is left out."""
    for kind in (schema, *schema.get("anyOf", ())):
        low = kind.get("minimum", kind.get("exclusiveMinimum"))
        if low is not None or "maximum" in kind:
            return low, kind.get("maximum"), "exclusiveMinimum" in kind
    return None, None, False


def values_in_form(schema, model):
    """The values that a JSON schema allows, of a single value or of each of several."""
    for kind in (schema, *schema.get("anyOf", ())):
        kind = kind.get("items", kind)
        if "$ref" in kind:
            kind = model.model_json_schema()["$defs"][kind["$ref"].rpartition("/")[2]]
        if "enum" in kind:
            return kind["enum"]
    return None


@pytest.mark.parametrize(
    ("command", "model"),
    [(command, model) for command, models in GROUPS.items() for model in models],
    ids=lambda each: getattr(each, "name", None) or each.__name__,
)
def test_the_command_line_has_the_options_of_the_form(command, model):
    options = {param.name: param for param in command.params}
    for name, schema in form_of(model).items():
        if name == "without_finished_run":
            continue  # the command line does not ask a Prefect server
        option = options[name]
        if isinstance(option.type, click.Choice):
            assert list(option.type.choices) == values_in_form(schema, model), name
        if name == "tolerance" and model is ShapeTrackingOptions:
            continue  # one option of the command is for both kinds of functions
        assert option.help.removesuffix(" May be repeated.") == schema["description"], name
        assert to_jsonable_python(option.default) == schema["default"], name
        bounds = bounds_in_form(schema)
        if isinstance(option.type, click.IntRange | click.FloatRange):
            assert (option.type.min, option.type.max, option.type.min_open) == bounds, name
        else:
            assert bounds == (None, None, False), name


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_form_has_a_title_a_description_and_a_default_for_each_option(model):
    for name, schema in form_of(model).items():
        assert schema["description"].endswith((".", ")")), name
        assert "\n" not in schema["description"]
        assert schema.get("title") == model.titles()[name] or "$ref" in schema
        assert "default" in schema, name


@pytest.mark.parametrize("function", PYTHON)
def test_python_has_the_defaults_and_descriptions_of_the_form(function):
    typed, models = PYTHON[function]
    arguments = inspect.signature(getattr(prefect_cvat, function)).parameters
    text = " ".join(inspect.getdoc(getattr(prefect_cvat, function)).split())
    names = set(get_type_hints(typed))
    assert names <= {name for model in models for name in model.model_fields}
    seen = set()
    for model in models:
        form = form_of(model)
        for name in names & set(form) - seen:
            seen.add(name)
            assert to_jsonable_python(arguments[name].default) == form[name]["default"], name
            assert arguments[name].kind is inspect.Parameter.KEYWORD_ONLY
            assert f"{name}: {' '.join(form[name]['description'].split())}" in text, name
    assert seen == names


@pytest.mark.parametrize(
    ("function", "command"), [("annotate_task", annotate), ("track_task", track), ("refine_task", refine)]
)
def test_python_and_the_command_line_have_the_same_options(function, command):
    typed, _ = PYTHON[function]
    options = {param.name for param in command.params}
    assert set(get_type_hints(typed)) <= options


@pytest.mark.parametrize("function", PYTHON)
def test_keywords_have_the_types_of_the_models(function):
    typed, models = PYTHON[function]
    fields = {
        name: field.annotation for model in reversed(models) for name, field in model.model_fields.items()
    }
    for name, hint in get_type_hints(typed).items():
        field = fields[name]
        assert (NoneType in get_args(hint)) is (NoneType in get_args(field)), name
        if not get_args(field):
            assert hint == field or field in get_args(hint), name


def test_unknown_argument_is_a_type_error():
    with pytest.raises(TypeError, match="no argument 'conf_treshold'; did you mean 'conf_threshold'?"):
        prefect_cvat.annotate_task(None, 1, None, conf_treshold=0.5)


def test_no_group_of_a_flow_repeats_an_option_of_another():
    seen = [name for model in (*GROUPS[annotate], ModelOptions) for name in model.model_fields]
    assert len(seen) == len(set(seen))
    assert set(seen) == set(Options.model_fields) - {"window"} | {"device", "batch_size"}


def test_out_of_range_value_is_named_as_given():
    from prefect_cvat.messages.argument_names import arguments_as_options, arguments_as_titles

    def message():
        with pytest.raises(ValueError, match="between 0 and 1") as raised:
            Options(conf_threshold=1.5)
        return str(raised.value)

    assert message() == "conf_threshold must be None or a number between 0 and 1, not 1.5"
    with arguments_as_options({}):
        assert message() == "--conf-threshold must be None or a number between 0 and 1, not 1.5"
        with arguments_as_titles(Options.titles()):
            assert message() == "'Confidence threshold' must be None or a number between 0 and 1, not 1.5"


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("0-2,9", [0, 1, 2, 9]),
        ([9, 2, 1, 0], [0, 1, 2, 9]),
        (range(3), [0, 1, 2]),
        ("unannotated", None),
        ("", None),
    ],
    ids=str,
)
def test_frames_are_read_from_text_and_from_numbers_and_survive_json(value, numbers):
    options = FrameOptions(frames=value)
    again = FrameOptions(**options.model_dump(mode="json"))
    for each in (options, again):
        frames = each.selection.frames
        assert (None if frames is None else list(frames)) == numbers
        assert each.selection.unannotated is (value == "unannotated")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": "5-3"}, "frames: '5-3' ends before it begins"),
        ({"frames": [-1]}, "frames: must be 0 or more, not -1"),
        ({"frames": 7}, "frames: must be numbers, or text such as 0-99,200, not 7"),
        ({"jobs": [0]}, "jobs: must be 1 or more, not 0"),
        ({"jobs": "1-99999"}, "has 99999 jobs; select at most 10000"),
        ({"label_map": {"car": {"nme": "x"}}}, "label_map: 'nme' of 'car'"),
        ({"existing": "replace"}, "existing must be 'keep', 'clear' or 'replace_auto', not 'replace'"),
        ({"no_such": 1}, f"there is no option 'no_such' in prefect-cvat {version('prefect-cvat')}"),
    ],
    ids=str,
)
def test_invalid_option_value_is_a_one_line_error(values, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (each has a message of its own)
        Options(**values)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
