"""The provenance of annotations is in the report, in the record, and in attributes of the task."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from clips import clip
from prefect_cvat import ShapeTrackingOptions, TrackOptions, annotate_task, refine_task, track_task, undo_run
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    label_spec,
    number_attribute_spec,
    rectangle,
    select_attribute_spec,
    tag,
    text_attribute_spec,
)
from prefect_cvat.auto_annotation.interface import InteractionResultShape
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.inference.provenance import Provenance, name_of, without_secrets
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import Attribute, Label
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.run_attributes import RunAttributes
from prefect_cvat.records.record_reader import read_run
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.runs.track_detections_run import TrackDetectionsRun
from prefect_cvat.runs.track_shapes_run import TrackShapesRun


class Finder:
    """Finds a car, with a score, and that it is day."""

    version = "7"

    def __init__(self, score=0.87, attributes=()):
        labels = [label_spec("car", 0, attributes=list(attributes)), label_spec("day", 1, type="tag")]
        self.spec = DetectionFunctionSpec(labels=labels)
        self.score = score
        self.values = {}

    def detect(self, context, image):
        values = [{"spec_id": number, "value": value} for number, value in self.values.items()]
        return [rectangle(0, [2, 2, 30, 20], score=self.score, attributes=values), tag(1)]


# --- in the report and in the record ---


def test_report_and_record_contain_the_provenance(client, make_task):
    task_id = make_task(2, labels=[label_spec("vehicle", None), label_spec("day", None, type="tag")])
    report = annotate_task(
        client,
        task_id,
        Finder(),
        conf_threshold=0.25,
        label_map={"car": "vehicle", "day": None},
        label_thresholds={"car": 0.5},
        existing="replace_auto",
        conv_mask_to_poly=True,
        frames="unannotated",
        skip_existing_iou=0.6,
        quality="compressed",
    )
    made_by = report.provenance
    assert made_by is not None
    assert made_by.model_dump(exclude={"prefect_cvat"}) == {
        "function": "Finder",
        "function_version": "7",
        "function_parameters": None,
        "prompts": None,
        "conf_threshold": 0.25,
        "label_thresholds": {"car": 0.5},
        "labels": {"car": "vehicle", "day": None},
        "learned_labels": {},
        "conv_mask_to_poly": True,
        "quality": "compressed",
        "existing": "replace_auto",
        "unannotated": True,
        "skip_existing_iou": 0.6,
        "skip_existing_source": "manual",
        "options": {},
    }
    recorded = read_run(report.run)
    assert recorded.header.provenance == made_by
    assert (recorded.header.server, recorded.header.task_id) == (client.url, task_id)
    assert sum(len(job.added) for job in recorded.jobs.values()) == report.added == 2
    assert f"run {report.run}" in report.lines()


def test_provenance_contains_tracking_and_refinement_options(client, make_task):
    def provenance_of(run):
        told = run.provenance.model_dump_json()
        return json.loads(told)["options"], Provenance.model_validate_json(told) == run.provenance

    task_id = make_task(1)
    tracking = TrackOptions(step=2, tracker="sort")
    told, is_read_back = provenance_of(TrackDetectionsRun(client, task_id, Finder(), Options(), tracking))
    assert is_read_back
    assert (told["step"], told["tracker"], told["tolerance"]) == (2, "sort", 2.0)
    assert told.keys() == TrackOptions.model_fields.keys()

    refining = RefineOptions(shape_types={"points"}, to="polygon")
    told, is_read_back = provenance_of(
        RefineRun(client, task_id, load_function("grabcut_interaction"), Options(), refining)
    )
    assert is_read_back
    assert (told["shape_types"], told["to"], told["labels"]) == (["points"], "polygon", None)

    follow = ShapeTrackingOptions(labels=("car",), direction="both")
    function = load_function("optical_flow_tracking")
    told, is_read_back = provenance_of(TrackShapesRun(client, task_id, function, Options(), follow))
    assert is_read_back
    assert (told["labels"], told["direction"], told["until"]) == (["car"], "both", None)


def test_provenance_without_newer_options_can_be_read():
    before = """{"function": "nanodet_detection", "function_version": "1", "function_parameters": null,
        "conf_threshold": 0.25, "label_thresholds": {}, "labels": {"car": "car"}, "existing": "keep",
        "prefect_cvat": "0.1.0"}"""
    made_by = Provenance.model_validate_json(before)
    assert (made_by.skip_existing_iou, made_by.unannotated, made_by.options) == (None, False, {})
    with pytest.raises(ValidationError, match="colour"):
        Provenance.model_validate_json(before.replace('"existing"', '"colour"'))


def test_a_function_without_a_version_is_identified_by_its_digest(client, make_task):
    def detect(context, image):
        return [rectangle(0, [1, 1, 5, 5])]

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    report = annotate_task(client, make_task(1), SimpleNamespace(spec=spec, detect=detect), use_cache=False)
    assert report.provenance is not None
    assert len(report.provenance.function_version or "") == 64


def test_a_module_is_called_by_its_name():
    assert name_of(sys.modules[__name__]) == __name__
    assert name_of(Finder()) == "Finder"


def test_provenance_contains_parameters_without_secrets():
    given = {
        "threshold": "float:0.3",
        "api_key": "str:abc",
        "HF_TOKEN": "str:abc",
        "db_password": "str:abc",
        "url": "str:https://alice:abc@models.example.com/m",
    }
    told = without_secrets(given)
    assert told["threshold"] == "float:0.3"
    assert told["url"] == "str:https://********@models.example.com/m"
    assert "abc" not in str(told)


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".hidden", "-x", "a b"])
def test_run_id_that_is_not_a_folder_name_is_refused(client, make_task, run_id):
    run = AnnotateRun(client, make_task(1), Finder(), Options())
    with pytest.raises(ValueError, match="letters, digits"):
        run.set_metadata(run_id)


# --- in attributes ---

SCORES = [
    (text_attribute_spec("score", None), "0.87"),
    (number_attribute_spec("score", None, ["0", "100", "1"]), "87"),
    (number_attribute_spec("score", None, ["0", "100", "10"]), "90"),
    (number_attribute_spec("score", None, ["5", "50", "10"]), "45"),
    (number_attribute_spec("score", None, ["0", "1", "1"]), "1"),
]


@pytest.mark.parametrize(("attribute", "value"), SCORES, ids=[str(spec.values) for spec, _ in SCORES])
def test_a_score_is_written_into_the_attribute_of_that_name(client, make_task, attribute, value):
    labels = [label_spec("car", None, attributes=[attribute]), label_spec("day", None, type="tag")]
    task_id = make_task(1, labels=labels)
    annotate_task(client, task_id, Finder())
    [shape] = client.task_annotations(task_id).shapes
    assert [item["value"] for item in shape["attributes"]] == [value]
    assert annotate_task(client, task_id, Finder()).already_there == 2


@pytest.mark.parametrize(
    ("values", "score", "written"),
    [
        (["0", "1", "0.05"], 0.87, "0.85"),
        (["0", "1", "0.05"], 0.88, "0.9"),
        (["0", "1", "0.3"], 1.0, "0.9"),
        (["0", "255", "1"], 0.5, "50"),
        (["0", "100", "0"], 0.5, None),
        (["a", "b", "c"], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_score_is_rounded_to_a_value_of_the_number_attribute(values, score, written):
    attribute = Attribute(id=9, name="score", input_type="number", values=values)
    label = Label(id=1, name="car", type="any", attributes=[attribute])
    attributes = RunAttributes([label], score="score", model=None, model_names=("m",))
    assert [item["value"] for item in attributes.values(1, score, ())] == ([written] if written else [])


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (text_attribute_spec("model", None), "Finder 7"),
        (select_attribute_spec("model", None, ["other", "Finder"]), "Finder"),
        (select_attribute_spec("model", None, ["Finder", "Finder 7"]), "Finder 7"),
        (select_attribute_spec("model", None, ["other", "another"]), "other"),  # CVAT's default: the first
    ],
    ids=["text", "by name", "with version", "no such value"],
)
def test_the_model_is_written_into_the_attribute_of_that_name(client, make_task, attribute, value):
    labels = [
        label_spec("car", None, attributes=[attribute]),
        label_spec("day", None, type="tag", attributes=[attribute]),
    ]
    task_id = make_task(1, labels=labels)
    annotate_task(client, task_id, Finder())
    stored = client.task_annotations(task_id)
    for annotation in (*stored.shapes, *stored.tags):
        assert [item["value"] for item in annotation["attributes"]] == [value]


def test_attributes_filled_by_the_function_are_kept(client, make_task):
    labels = [
        label_spec("car", None, attributes=[text_attribute_spec("score", None)]),
        label_spec("day", None, type="tag"),
    ]
    task_id = make_task(1, labels=labels)
    function = Finder(attributes=[text_attribute_spec("score", 5)])
    function.values = {5: "3 to 1"}
    annotate_task(client, task_id, function)
    [shape] = client.task_annotations(task_id).shapes
    assert [item["value"] for item in shape["attributes"]] == ["3 to 1"]


def test_attributes_can_be_renamed_or_disabled(client, make_task):
    attributes = [text_attribute_spec(name, None) for name in ("score", "model", "sure")]
    labels = [label_spec("car", None, attributes=attributes), label_spec("day", None, type="tag")]
    task_id = make_task(1, labels=labels)
    annotate_task(client, task_id, Finder(), score_attribute="sure", model_attribute=None)
    [shape] = client.task_annotations(task_id).shapes
    names = {attribute.id: attribute.name for attribute in client.labels(task_id)[0].attributes}
    told = {names[item["spec_id"]]: item["value"] for item in shape["attributes"]}
    assert told == {"score": "", "model": "", "sure": "0.87"}


def test_missing_score_is_not_written(client, make_task):
    labels = [
        label_spec("car", None, attributes=[text_attribute_spec("score", None, default_value="?")]),
        label_spec("day", None, type="tag"),
    ]
    task_id = make_task(1, labels=labels)
    annotate_task(client, task_id, Finder(score=None))
    [shape] = client.task_annotations(task_id).shapes
    assert [item["value"] for item in shape["attributes"]] == ["?"]


# --- all kinds of runs are recorded ---


def test_tracks_are_recorded_with_their_model_and_undone(client, make_task):
    attributes = [text_attribute_spec("score", None), text_attribute_spec("model", None)]
    labels = [label_spec("car", None, attributes=attributes), label_spec("day", None, type="tag")]
    task_id = make_task(6, labels=labels)
    report = track_task(client, task_id, Finder(), track_options=TrackOptions(min_length=1))
    [track] = client.task_annotations(task_id).tracks
    names = {attribute.id: attribute.name for attribute in client.labels(task_id)[0].attributes}
    told = {names[item["spec_id"]]: item["value"] for item in track["attributes"]}
    assert told == {"score": "", "model": "Finder 7"}
    assert undo_run(client, report.run).removed == report.added == 7
    assert not client.task_annotations(task_id).tracks


def test_tracked_shapes_are_recorded_and_undone(client, video_task):
    task_id = video_task(clip(range(4)))
    [job] = client.jobs(task_id)
    [car] = client.labels(task_id)
    seed = {"type": "rectangle", "frame": 0, "label_id": car.id, "source": "manual", "points": [5, 5, 30, 30]}
    client.create_job_annotations(job.id, {"shapes": [seed]})
    function = load_function("optical_flow_tracking")
    report = track_task(
        client, task_id, function, shape_tracking_options=ShapeTrackingOptions(keep_source_shapes=True)
    )
    assert report.added == 1
    assert undo_run(client, report.run).removed == 1
    left = client.job_annotations(job.id)
    assert not left.tracks
    assert len(left.shapes) == 1


def test_refined_shapes_are_recorded_and_undone_and_replaced_shapes_counted(client, make_task):
    class Fills:
        spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)

        def detect(self, context, image, prompts):
            bitmap = np.zeros((image.height, image.width), dtype=bool)
            bitmap[10:20, 10:20] = True
            return [InteractionResultShape(type="mask", points=encode_mask(bitmap))]

    task_id = make_task(1)
    [job] = client.jobs(task_id)
    box = {
        "type": "rectangle",
        "frame": 0,
        "label_id": client.labels(task_id)[0].id,
        "points": [8, 8, 30, 30],
    }
    client.create_job_annotations(job.id, {"shapes": [box]})
    report = refine_task(client, task_id, Fills())
    done = undo_run(client, report.run)
    assert (done.removed, done.not_brought_back) == (1, 1)
    assert not client.job_annotations(job.id).shapes
