import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.auto_annotation.functions.nanodet_coco import load_categories, load_model


@pytest.fixture(scope="module")
def function():
    function = nanodet_detection.create(device="cpu")
    yield function
    function.close()


@pytest.fixture
def astronaut() -> PIL.Image.Image:
    return PIL.Image.fromarray(skimage.data.astronaut())


def names(function, annotations) -> list[str]:
    by_id = {label.id: label.name for label in function.spec.labels}
    return [by_id[annotation.label_id] for annotation in annotations]


def test_spec_has_the_classes_of_coco_as_rectangles(function):
    labels = function.spec.labels
    assert len(labels) == 80
    assert [(label.id, label.name) for label in (labels[0], labels[15], labels[79])] == [
        (0, "person"),
        (15, "cat"),
        (79, "toothbrush"),
    ]
    assert {label.type for label in labels} == {"rectangle"}


def test_finds_the_cup(function, context):
    image = PIL.Image.fromarray(skimage.data.coffee())
    (cup,) = function.detect(context(), image)
    assert names(function, [cup]) == ["cup"]
    assert cup.score > 0.5
    assert cup.points == pytest.approx([145, 5, 425, 395], abs=15)


def test_threshold_of_the_run_overrides_that_of_the_function(function, context, astronaut):
    found = {
        threshold: function.detect(context(threshold), astronaut) for threshold in (None, 0.0, 0.2, 0.4, 0.99)
    }
    assert found[None] == found[0.4]
    assert 0 < len(found[0.4]) < len(found[0.2]) < len(found[0.0]) <= 100
    assert found[0.99] == []
    assert min(shape.score for shape in found[0.2]) >= 0.2


def test_threshold_of_zero_hides_nothing(function, context):
    grey = PIL.Image.new("L", (100, 50), 127)
    scores = [shape.score for shape in function.detect(context(0.0), grey)]
    assert len(scores) == 100
    assert 0 < max(scores) < 0.05


def test_threshold_of_the_function_applies_if_the_run_sets_none(context, astronaut):
    function = nanodet_detection.create(score_threshold=0.2, device="cpu")
    assert function.detect(context(), astronaut) == function.detect(context(0.2), astronaut)


def test_batch_detections_equal_single_image_detections(function, context):
    photos = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.horse()]
    images = [PIL.Image.fromarray(photo) for photo in photos]
    contexts = [context(), context(0.3), context(0.1), context()]
    together = function.detect_batch(contexts, images)
    for one_context, image, found in zip(contexts, images, together, strict=True):
        alone = function.detect(one_context, image)
        assert names(function, found) == names(function, alone)
        for shape, expected in zip(found, alone, strict=True):
            assert shape.score == pytest.approx(expected.score, abs=1e-3)
            assert shape.points == pytest.approx(expected.points, abs=0.1)
    assert together[1]
    assert together[2]


def test_model_follows_torchvision(astronaut):
    model = load_model()
    image = torch.from_numpy(np.array(astronaut)).permute(2, 0, 1) / 255
    wide = image[:, 100:300]
    with torch.inference_mode():
        first, second = model([image, wide])
    assert not model.training
    for output, (height, width) in ((first, image.shape[-2:]), (second, wide.shape[-2:])):
        boxes, labels, scores = output["boxes"], output["labels"], output["scores"]
        assert boxes.shape == (len(scores), 4)
        assert boxes.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert scores.min() > model.score_thresh
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
    person = load_categories().index("person")
    assert first["labels"][0] == person
    assert model([]) == []


def test_weights_that_do_not_fit_are_refused(monkeypatch):
    tensors = {"conv00.weight": torch.zeros(32, 3, 3, 3), "conv00.bias": torch.zeros(32)}
    monkeypatch.setattr("safetensors.torch.load", lambda data: tensors)
    with pytest.raises(KeyError, match=r"conv01\.weight"):
        load_model()


def test_detections_equal_the_reference(function, context, data: Path):
    reference = json.loads((data / "nanodet-coco/reference_detections.json").read_text())
    for file_name, expected in reference.items():
        with PIL.Image.open(data / "coco-photos/images" / file_name) as image:
            found = [shape for shape in function.detect(context(0.4), image) if shape.score > 0.4]
        assert sorted(names(function, found)) == sorted(each["label"] for each in expected)
        remaining = list(zip(names(function, found), found, strict=True))
        for each in expected:
            same = [
                item
                for item in remaining
                if item[0] == each["label"]
                and abs(item[1].score - each["score"]) <= 0.01
                and item[1].points == pytest.approx(each["box"], abs=1)
            ]
            assert same, f"{file_name}: {each} was not found"
            remaining.remove(same[0])
    assert sum(map(len, reference.values())) == 51


def test_average_precision_on_coco_photos(function, context, data: Path):
    truth = COCO(data / "coco-photos/instances.json")
    category_ids = {category["name"]: category["id"] for category in truth.dataset["categories"]}
    results = []
    for image_id, entry in truth.imgs.items():
        with PIL.Image.open(data / "coco-photos/images" / entry["file_name"]) as image:
            found = function.detect(context(0.05), image)
        for name, shape in zip(names(function, found), found, strict=True):
            x1, y1, x2, y2 = shape.points
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category_ids[name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": shape.score,
                }
            )
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(0.237, abs=0.005)
    assert evaluation.stats[1] == pytest.approx(0.353, abs=0.005)
