"""What is found equals what transformers' own processors make of the same model and words."""

import numpy as np
import pytest
import torch

from prefect_cvat.inference.output_checks import OutputChecker

pytest.importorskip("transformers")

import transformers

from tiny_detectors import model_and_processor
from tiny_word_models import (
    WORD_MODELS,
    grounding_dino,
    mm_grounding_dino,
    omdet_turbo,
    omdet_turbo_of_timm,
    owlv2,
    owlvit,
)

ALL = {"iou": 1.0, "iou_across_labels": 0.99999}
"""No box is left out because of another one, and each has the label that describes it best."""


def found_by_transformers(family, photo, words, **settings):
    model, processor = model_and_processor(family)
    inputs = processor(images=[photo], text=[words], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    (found,) = processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[(photo.height, photo.width)], **settings
    )
    return inputs, outputs, found


def assert_equal(shapes, scores, boxes, labels):
    best_first = scores.argsort(descending=True, stable=True)
    np.testing.assert_allclose([shape.score for shape in shapes], scores[best_first], atol=1e-5)
    np.testing.assert_allclose([shape.points for shape in shapes], boxes[best_first], atol=1e-2)
    assert [shape.label_id for shape in shapes] == labels[best_first].tolist()


@pytest.mark.parametrize("family", [owlvit, owlv2], ids=lambda family: family.__name__)
def test_owl_finds_what_its_processor_finds(make, family, context, small_photos):
    function = make(family, "traffic cone", "cat", "dog", **ALL)
    for photo in small_photos:
        shapes = function.detect(context(), photo)
        _, _, expected = found_by_transformers(family, photo, ["traffic cone", "cat", "dog"])
        assert len(shapes) == 16
        assert_equal(shapes, expected["scores"], expected["boxes"], expected["labels"])


@pytest.mark.parametrize("family", [omdet_turbo, omdet_turbo_of_timm], ids=lambda family: family.__name__)
def test_omdet_finds_what_its_processor_finds(make, family, context, small_photos):
    if family is omdet_turbo_of_timm:
        pytest.importorskip("timm")
    function = make(family, "traffic cone", "cat", "dog", iou=1.0, iou_across_labels=1.0)
    for photo in small_photos:
        shapes = function.detect(context(), photo)
        _, _, expected = found_by_transformers(
            family, photo, ["traffic cone", "cat", "dog"], nms_threshold=1.0
        )
        assert len(shapes) >= 5
        assert_equal(shapes, expected["scores"], expected["boxes"], expected["labels"])


@pytest.mark.parametrize("family", [grounding_dino, mm_grounding_dino], ids=lambda family: family.__name__)
def test_grounding_dino_finds_what_its_processor_finds(make, family, context, small_photos):
    words = ["red hen", "cat"]
    function = make(family, *words, **ALL)
    places = dict.fromkeys(range(1, 7), 0) | dict.fromkeys(range(8, 11), 1)  # tokens are letters
    compared = 0
    for photo in small_photos:
        shapes = function.detect(context(), photo)
        inputs, outputs, expected = found_by_transformers(family, photo, words, text_threshold=0.0)
        text = function._words._text(range(2), 1)
        assert all(torch.equal(inputs[name], text[name]) for name in text)
        assert len(shapes) == len(expected["boxes"]) == 10
        by_box = {tuple(np.round(shape.points, 2)): shape for shape in shapes}
        best_tokens = outputs.logits[0].argmax(-1).tolist()
        for box, score, token in zip(expected["boxes"], expected["scores"], best_tokens, strict=True):
            shape = by_box[tuple(np.round(box.tolist(), 2))]
            if token in places:  # and not the full stop, or the end of the text
                compared += 1
                assert shape.score == pytest.approx(float(score), abs=1e-5)
                assert shape.label_id == places[token]
            else:
                assert shape.score < float(score)
    assert compared >= 5


def test_word_has_the_score_of_its_best_token_also_within_other_words(make, context, small_photos):
    function = make(grounding_dino, "cat", "cat tail", "tail", **ALL)
    shapes = function.detect(context(), small_photos[0])
    model, processor = model_and_processor(grounding_dino)
    inputs = processor(images=[small_photos[0]], text="cat. cat tail. tail.", return_tensors="pt")
    with torch.inference_mode():
        scores = model(**inputs).logits[0].sigmoid()
    # [CLS] c a t . c a t t a i l . t a i l . [SEP]
    by_word = torch.stack([scores[:, place].amax(1) for place in (slice(1, 4), slice(5, 12), slice(13, 17))])
    best, words = by_word.max(0)
    order = best.argsort(descending=True)
    assert [shape.label_id for shape in shapes] == words[order].tolist()
    assert [shape.score for shape in shapes] == pytest.approx(best[order].tolist(), abs=1e-5)
    assert len(set(words.tolist())) > 1


@pytest.mark.parametrize("family", [owlvit, owlv2], ids=lambda family: family.__name__)
def test_owl_finds_for_each_label_what_the_pipeline_finds(make, family, context, small_photos):
    """Where labels do not compete for a box: the pipeline asks the model for one label after the other."""
    names = ["traffic cone", "cat", "dog"]
    function = make(family, *names, iou=1.0, iou_across_labels=1.0)
    shapes = function.detect(context(), small_photos[2])
    model, processor = model_and_processor(family)
    pipeline = transformers.pipeline(
        "zero-shot-object-detection",
        model=model,
        tokenizer=processor.tokenizer,
        image_processor=processor.image_processor,
        device="cpu",
    )
    expected = pipeline(small_photos[2], candidate_labels=names, threshold=0.0)
    assert len(shapes) == len(expected) == 3 * 16
    found = sorted((names[shape.label_id], shape.score, shape.points) for shape in shapes)
    wanted = sorted((each["label"], each["score"], [*each["box"].values()]) for each in expected)
    for (name, score, points), (other, other_score, box) in zip(found, wanted, strict=True):
        assert (name, score) == (other, pytest.approx(other_score, abs=1e-4))
        assert points == pytest.approx(box, abs=1.001)  # it cuts off decimals


@pytest.mark.parametrize("family", [grounding_dino, mm_grounding_dino], ids=lambda family: family.__name__)
def test_grounding_dino_finds_each_box_for_each_label_if_labels_do_not_compete(
    make, family, context, small_photos
):
    shapes = make(family, "red hen", "cat", iou=1.0, iou_across_labels=1.0).detect(context(), small_photos[0])
    model, processor = model_and_processor(family)
    inputs = processor(images=[small_photos[0]], text="red hen. cat.", return_tensors="pt")
    with torch.inference_mode():
        scores = model(**inputs).logits[0].sigmoid()
    by_label = [scores[:, 1:7].amax(1), scores[:, 8:11].amax(1)]
    for label_id, expected in enumerate(by_label):
        found = [shape.score for shape in shapes if shape.label_id == label_id]
        assert found == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-5)


@pytest.mark.parametrize(
    ("family", "settings"),
    [(grounding_dino, {"text_threshold": 0.0}), (omdet_turbo, {"nms_threshold": 1.0})],
    ids=["grounding_dino", "omdet_turbo"],
)
def test_each_group_of_words_is_found_as_alone(make, family, settings, context, small_photos):
    names = [letter * 11 for letter in "abcdefghijklmnop"]
    function = make(family, *names, **ALL)
    groups = function._words.groups
    assert len(groups) > 2
    shapes = function.detect(context(), small_photos[0])
    expected = set()
    for group in groups:
        _, _, found = found_by_transformers(
            family, small_photos[0], [names[place] for place in group], **settings
        )
        expected |= {tuple(np.round(box, 2)) for box in found["boxes"].tolist()}
    assert {tuple(np.round(shape.points, 2)) for shape in shapes} == expected


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_wordings_of_a_label_are_merged(make, family, context, small_photos):
    names = ["a cat", "kitten", "dog"]
    apart = make(family, *names, iou=0.5).detect(context(), small_photos[0])
    prompts = {"cat": "a cat, kitten"}
    function = make(family, "cat", "dog", prompts=prompts, iou=0.5)
    merged = function.detect(context(), small_photos[0])
    assert [label.name for label in function.spec.labels] == ["cat", "dog"]
    assert merged
    scores = {tuple(shape.points): (shape.score, shape.label_id) for shape in apart}
    for shape in merged:
        score, label_id = scores[tuple(shape.points)]
        assert shape.score == pytest.approx(score, abs=1e-6)
        assert shape.label_id == {0: 0, 1: 0, 2: 1}[label_id]
    OutputChecker(function.spec.labels).check(0, merged)


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_batch_finds_what_single_images_have(make, family, context, small_photos):
    def values(shapes):
        return [value for shape in shapes for value in (shape.label_id, shape.score, *shape.points)]

    function = make(family, "traffic cone", "cat", batch_size=3)
    order = [small_photos[index] for index in (0, 2, 1)]
    together = function.detect_batch([context()] * 3, order)
    alone = [make(family, "traffic cone", "cat").detect(context(), photo) for photo in order]
    assert values(alone[0]) != values(alone[2])
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(values(found), values(expected), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_model_in_a_folder_is_the_model_object(make, family, labels, context, small_photos, tmp_path):
    model, processor = model_and_processor(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    by_name = make(family, "cat", "cone", model=str(tmp_path), processor=None)
    found, expected = (
        function.detect(context(), small_photos[0]) for function in (by_name, make(family, "cat", "cone"))
    )
    assert len(found) == len(expected) > 0
    for shape, other in zip(found, expected, strict=True):
        assert shape.score == pytest.approx(other.score, abs=1e-4)
        assert shape.points == pytest.approx(other.points, abs=0.01)
    assert by_name.version == make(family, "cat", "cone", model=str(tmp_path), processor=None).version
