"""Models of transformers that find boxes find what transformers itself makes of their outputs."""

import math

import numpy as np
import pytest
import torch

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.inference.output_checks import OutputChecker

pytest.importorskip("transformers")

import transformers

from prefect_cvat.auto_annotation.functions import transformers_detection
from tiny_detectors import DETECTORS, NAMES, detr, detr_of_timm, model_and_processor, rf_detr, rt_detr, yolos
from tiny_segmenters import mask2former
from tiny_word_models import owlv2


def everything(found):
    return [value for shape in found for value in (shape.label_id, shape.score, *shape.points)]


@pytest.mark.parametrize("family", [*DETECTORS, detr_of_timm], ids=lambda family: family.__name__)
def test_rectangles_equal_those_of_the_processor(make, family, context, small_photos):
    if family is detr_of_timm:
        pytest.importorskip("timm")
    function = make(family)
    found = function.detect(context(), small_photos[0])
    model, processor = model_and_processor(family)
    inputs = processor(images=[small_photos[0]], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    (expected,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(80, 120)])
    best_first = expected["scores"].argsort(descending=True, stable=True)
    assert len(found) == len(best_first) >= 10
    np.testing.assert_allclose([shape.score for shape in found], expected["scores"][best_first], atol=1e-5)
    np.testing.assert_allclose([shape.points for shape in found], expected["boxes"][best_first], atol=1e-2)
    assert len({tuple(shape.points) for shape in found}) >= 5
    assert [shape.label_id for shape in found] == expected["labels"][best_first].tolist()
    OutputChecker(function.spec.labels).check(0, found)


@pytest.mark.parametrize("family", DETECTORS, ids=lambda family: family.__name__)
def test_rectangles_equal_those_of_the_pipeline(make, family, context, small_photos):
    model, processor = model_and_processor(family)
    function = make(family)
    found = function.detect(context(), small_photos[2])
    pipeline = transformers.pipeline("object-detection", model=model, image_processor=processor, device="cpu")
    expected = sorted(pipeline(small_photos[2], threshold=0.0), key=lambda each: -each["score"])
    assert len(found) == len(expected)
    for shape, each in zip(found, expected, strict=True):
        assert shape.score == pytest.approx(each["score"], abs=1e-5)
        assert NAMES[shape.label_id] == each["label"]
        box = [each["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
        assert [int(place) for place in shape.points] == pytest.approx(box, abs=1)  # it cuts off decimals


@pytest.mark.parametrize("family", [*DETECTORS, mask2former], ids=lambda family: family.__name__)
def test_batch_detections_equal_single_image_detections(make, family, context, small_photos):
    function = make(family, batch_size=3)
    order = [small_photos[index] for index in (0, 2, 1)]
    together = function.detect_batch([context()] * 3, order)
    alone = [function.detect(context(), photo) for photo in order]
    assert everything(alone[0]) != everything(alone[2])
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(everything(found), everything(expected), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("family", [rt_detr, mask2former], ids=lambda family: family.__name__)
def test_threshold_of_the_run_overrides_that_of_the_function(make, family, context, small_photos):
    found = make(family).detect(context(), small_photos[0])
    middle = sorted(shape.score for shape in found)[len(found) // 2]
    strict = make(family, score_threshold=middle - 1e-6, batch_size=3)
    kept, none, all_of_it = strict.detect_batch(
        [context(), context(1.0), context(0.0)], [small_photos[0]] * 3
    )
    assert 0 < len(kept) < len(found)
    assert min(shape.score for shape in kept) == pytest.approx(middle, abs=1e-5)
    assert none == []
    assert len(all_of_it) == len(found)


def test_labels_are_those_of_the_model_without_background_labels(context, small_photos):
    names = {0: "N/A", 1: "person", 2: "car", 3: "N/A"}
    numbers = {"person": 1, "car": 2}
    model_class, config, processor = detr({"id2label": names, "label2id": numbers})
    torch.manual_seed(0)
    function = transformers_detection.create(
        model_class(config), processor=processor, score_threshold=0.0, device="cpu"
    )
    assert [(label.id, label.name, label.type) for label in function.spec.labels] == [
        (1, "person", "rectangle"),
        (2, "car", "rectangle"),
    ]
    for bias in range(4):  # make each class in turn the best one
        with torch.no_grad():
            function._model.class_labels_classifier.bias[:] = (
                torch.nn.functional.one_hot(torch.tensor(bias), 5) * 9
            )
        expected = {bias} & {1, 2}
        assert {shape.label_id for shape in function.detect(context(), small_photos[0])} == expected


@pytest.mark.parametrize("family", [*DETECTORS, mask2former], ids=lambda family: family.__name__)
def test_model_in_a_folder_is_the_model_object(make, family, context, small_photos, tmp_path):
    model, processor = model_and_processor(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    by_name = transformers_detection.create(str(tmp_path), score_threshold=0.0, device="cpu")
    expected = make(family).detect(context(), small_photos[0])
    np.testing.assert_allclose(
        everything(by_name.detect(context(), small_photos[0])), everything(expected), rtol=1e-3, atol=1e-2
    )
    again = transformers_detection.create(str(tmp_path), score_threshold=0.0, device="cpu")
    assert by_name.version == again.version


def test_half_precision_finds_nearly_the_same(make, context, small_photos):
    whole, half = (
        make(yolos, half_precision=half_precision).detect(context(), small_photos[0])
        for half_precision in (False, True)
    )
    assert everything(whole) != everything(half)
    assert whole[0].points == pytest.approx(half[0].points, abs=8)


def test_version_depends_on_weights_and_settings_and_not_on_use(make, context, small_photos):
    function = make(detr)
    versions = {function.version}
    function.detect(context(), small_photos[0])
    vars(function).pop("version")
    versions |= {function.version, make(detr).version}
    assert len(versions) == 1
    with torch.no_grad():
        function._model.class_labels_classifier.bias[0] += 0.001
    vars(function).pop("version")
    versions |= {function.version, make(detr, score_threshold=0.1).version, make(yolos).version}
    with torch.no_grad():
        function._model.class_labels_classifier.bias[0] -= 0.001
    larger = transformers.DetrImageProcessor(size={"height": 96, "width": 96})
    versions.add(make(detr, processor=larger).version)
    assert len(versions) == 5


def test_closed_function_raises_an_error(make, context, small_photos):
    function = make(detr)
    function.close()
    with pytest.raises(RuntimeError, match="the function is closed"):
        function.detect(context(), small_photos[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"revision": "main"}, TypeError, "only a model by name takes the options revision"),
        ({"tolerance": -1}, ValueError, "tolerance must be 0 or more, not -1"),
        ({"score_threshold": math.inf}, ValueError, "score_threshold must be between 0 and 1"),
        ({"processor": None}, TypeError, "a model object needs its processor"),
        ({"segmentation": "panoptic"}, ValueError, "DetrForObjectDetection finds boxes; leave segmentation out"),
        ({"segmentation": "semantic"}, ValueError, "segmentation must be 'instance' or 'panoptic', not 'semantic'"),
        ({"stuff": ["car"]}, ValueError, "stuff is for segmentation='panoptic'; leave it out"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        make(detr, **options)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: 3, "model must be a name or a model of transformers, not int"),
        (lambda: model_and_processor(detr)[0].model, "the model is DetrModel, which is no model that is supported"),
        (
            lambda: model_and_processor(owlv2)[0],
            "Owlv2ForObjectDetection, a model for detection of what words describe; use it with"
            " open_vocabulary_detection",
        ),
    ],
)  # fmt: skip
def test_other_models_are_refused(model, message):
    with pytest.raises(TypeError, match=message):
        transformers_detection.create(model(), processor=object())


def test_model_that_is_nowhere_is_refused_with_the_command_that_downloads_it():
    with pytest.raises(FunctionLoadError) as refused:
        transformers_detection.create("PekingU/rtdetr_v2_r50vd", local_files_only=True)
    assert "hf download PekingU/rtdetr_v2_r50vd" in str(refused.value)


@pytest.mark.parametrize("family", [rt_detr, rf_detr], ids=lambda family: family.__name__)
def test_a_task_is_annotated_with_it(client, make_task, make, family):
    task_id = make_task(4, labels=[label_spec(name, None) for name in NAMES.values()])
    annotate_task(client, task_id, make(family))
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    assert len(shapes) > 20
    assert {shape["frame"] for shape in shapes} == {0, 1, 2, 3}
    assert all(shape["type"] == "rectangle" and 0 < shape["score"] <= 1 for shape in shapes)
