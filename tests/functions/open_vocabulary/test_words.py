"""Which words the models get for the labels of a task, and which labels are refused."""

import logging
import math

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_cvat import TaskLabel
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError

pytest.importorskip("transformers")

from prefect_cvat.auto_annotation.functions._grounding_dino import GroundingDino
from tiny_detectors import DETECTORS, model_and_processor
from tiny_word_models import (
    WORD_MODELS,
    grounding_dino,
    mm_grounding_dino,
    mm_grounding_dino_of_full_context,
    omdet_turbo,
    owlv2,
    owlvit,
)

HUNDREDS = [f"kind_{number:03}" for number in range(300)]
SPELLED_ONLY = [grounding_dino, mm_grounding_dino]
"""Their tiny vocabulary has only the Latin letters."""


def every(family):
    return family.__name__


def test_names_of_labels_become_words(make):
    function = make(owlv2, "traffic_light", "Verkehrsschild", "motorBike", "naïve-café", "знак")
    assert function._words._words == (
        *("traffic light", "verkehrsschild", "motor bike", "naïve café", "знак"),
    )
    assert [label.name for label in function.spec.labels] == [
        *("traffic_light", "Verkehrsschild", "motorBike", "naïve-café", "знак"),
    ]


@pytest.mark.parametrize("family", WORD_MODELS, ids=every)
@pytest.mark.parametrize("name", ["St. Bernard", "Who?", "men's", "a, b", "N°5", "Straße", "ÉCOLE"])
def test_names_with_punctuation_and_other_letters_are_found(make, family, name, context, small_photos):
    function = make(family, name, "cat", iou=1.0, iou_across_labels=1.0)
    found = function.detect(context(), small_photos[0])
    assert found
    assert {shape.label_id for shape in found} <= {0, 1}


@pytest.mark.parametrize("family", SPELLED_ONLY, ids=every)
def test_full_stops_within_words_do_not_end_them(make, family):
    function = make(family, "dog", "cat", prompts={"dog": ["st. bernard?"]})
    assert function._words._text(range(2), 1)["input_ids"].tolist() == (
        make(family, "dog", "cat", prompts={"dog": "st bernard"})
        ._words._text(range(2), 1)["input_ids"]
        .tolist()
    )


@given(st.lists(st.from_regex(r"[a-zß0-9][A-Za-z0-9 ,'/-]{0,9}", fullmatch=True), min_size=1, max_size=8))
@settings(deadline=None, max_examples=30)
def test_texts_are_those_of_the_processor(words):
    model, processor = model_and_processor(mm_grounding_dino_of_full_context)
    words = [" ".join(word.split()) for word in words]
    function = GroundingDino(model, processor, words)
    inputs = processor(images=[PIL.Image.new("RGB", (8, 8))], text=[words], return_tensors="pt")
    text = function._text(range(len(words)), 1)
    assert {name: text[name].tolist() for name in text} == {name: inputs[name].tolist() for name in text}


@pytest.mark.parametrize("family", SPELLED_ONLY, ids=every)
def test_words_that_the_vocabulary_does_not_have_are_refused(make, family):
    with pytest.raises(BadFunctionError) as refused:
        make(family, "дорога", "cat", "道路")
    assert str(refused.value) == (
        "the vocabulary of the model has none of the words 'дорога', '道路'; give other words with"
        " prompts, or null to leave a label out"
    )
    assert make(family, "дорога", "cat", "道路", prompts={"дорога": "road", "道路": None})


@pytest.mark.parametrize(
    ("family", "limit", "readable"),
    [
        (owlvit, 16, 14),
        (owlv2, 16, 14),
        (grounding_dino, 29, 29),
        (mm_grounding_dino, 29, 29),
        (omdet_turbo, 77, 68),
    ],
)
def test_words_longer_than_the_context_are_refused(make, family, limit, readable):
    assert make(family, "x", "cat", prompts={"x": "x" * readable})
    with pytest.raises(BadFunctionError) as refused:
        make(family, "x", "cat", prompts={"x": "x" * (readable + 1)})
    shown = "x" * (readable + 1) if readable < 60 else f"{'x' * 59}…"
    assert str(refused.value) == (
        f"the model reads at most {limit} tokens for a label, fewer than it needs for {shown!r}; give shorter"
        " words with prompts, or null to leave a label out"
    )


@pytest.mark.parametrize("family", [owlv2, mm_grounding_dino_of_full_context, omdet_turbo], ids=every)
def test_hundreds_of_labels_are_found_in_few_groups(make, family, context, small_photos):
    function = make(family, *HUNDREDS, iou=1.0, iou_across_labels=1.0)
    groups = function._words.groups
    assert [place for group in groups for place in group] == list(range(300))
    tokens = len("kind") + 3
    expected = {
        owlv2: 1,
        # begin and end; a full stop after each word
        mm_grounding_dino_of_full_context: math.ceil(300 / ((256 - 2) // (tokens + 1))),
        # begin, `detect`, full stop and end; a comma after all words but the last
        omdet_turbo: math.ceil(300 / ((77 - 2 - 6 - 1 + 1) // (tokens + 1))),
    }
    assert len(groups) == expected[family]
    found = function.detect(context(), small_photos[0])
    assert len(found) >= 10
    assert all(0 <= shape.label_id < 300 for shape in found)


@pytest.mark.parametrize("family", [owlv2, mm_grounding_dino_of_full_context], ids=every)
def test_thousands_of_labels_are_possible(make, family, context, small_photos):
    function = make(family, *(f"k {number}" for number in range(2000)))
    assert len(function.spec.labels) == 2000
    assert function.detect(context(), small_photos[0])


def test_labels_that_cannot_have_rectangles_are_left_out(make, caplog):
    task_labels = [TaskLabel("car", "any"), TaskLabel("road", "mask"), TaskLabel("person", "rectangle")]
    with caplog.at_level(logging.INFO, "prefect_cvat"):
        function = make(owlv2, task_labels=task_labels)
    assert [(label.name, label.type) for label in function.spec.labels] == [
        ("car", "rectangle"),
        ("person", "rectangle"),
    ]
    assert "labels that cannot have rectangles are left out: 'road (mask)'" in caplog.text
    with pytest.raises(
        BadFunctionError, match=r"there are prompts for labels that cannot .*: 'road \(mask\)'"
    ):
        make(owlv2, task_labels=task_labels, prompts={"road": "asphalt"})
    with pytest.raises(
        BadFunctionError, match=r"no label of the task can have: 'road \(mask\)'; use sam3_detection"
    ):
        make(owlv2, task_labels=task_labels[1:2])


def without_tokenizer():
    model, processor = model_and_processor(owlv2)
    return {"model": model, "processor": processor.image_processor}


def closed_set():
    model, processor = model_and_processor(DETECTORS[0])
    return {"model": model, "processor": processor}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (lambda: {"prompts": {"cart": "cart"}}, BadFunctionError, "prompts for 'cart', not labels .* did you mean 'cat'"),
        (lambda: {"prompts": {"cat": "dog"}}, BadFunctionError, "labels 'cat' and 'dog' have the same prompt 'dog'"),
        (lambda: {"prompts": {"cat": "?"}}, BadFunctionError, "prompt of label 'cat' is '\\?', which has no words"),
        (without_tokenizer, TypeError, "the processor of Owlv2ForObjectDetection is Owlv2ImageProcessor.*, which reads no"),
        (closed_set, TypeError, "DetrForObjectDetection, a model for object detection; use it with transformers_detection"),
        (lambda: {"model": 3}, TypeError, "model must be a name or a model of transformers, not int"),
        (lambda: {"processor": None}, TypeError, "a model object needs its processor"),
        (lambda: {"revision": "main"}, TypeError, "only a model by name takes the options revision"),
        (lambda: {"iou": 1.2}, ValueError, "iou must be between 0 and 1, not 1.2"),
        (lambda: {"iou_across_labels": -1}, ValueError, "iou_across_labels must be between 0 and 1, not -1"),
        (lambda: {"score_threshold": 2.0}, ValueError, "score_threshold must be between 0 and 1"),
        (lambda: {"device": "tpu"}, ValueError, "device 'tpu' cannot be used here"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        make(owlv2, "cat", "dog", **options())


@pytest.mark.parametrize("family", [owlv2, grounding_dino, omdet_turbo], ids=every)
def test_folder_without_the_files_of_the_tokenizer_is_refused(make, family, tmp_path):
    model, processor = model_and_processor(family)
    model.save_pretrained(tmp_path)
    processor.image_processor.save_pretrained(tmp_path)
    with pytest.raises(
        TypeError, match=r"which (reads no words|has a tokenizer of \d+ tokens, where \d+ belong);"
    ):
        make(family, "cat", model=str(tmp_path), processor=None)


def test_model_that_is_nowhere_is_refused_with_the_command_that_downloads_it(make):
    with pytest.raises(FunctionLoadError) as refused:
        make(owlv2, "cat", model="google/owlv2-base-patch16", processor=None, local_files_only=True)
    message = str(refused.value)
    assert "download it where there is a network: hf download google/owlv2-base-patch16" in message
    assert "\n" not in message


def test_thresholds_are_those_of_the_family(make):
    def threshold(family, **options):
        return make(family, "cat", **{"score_threshold": None, **options}).score_threshold

    assert [threshold(family) for family in WORD_MODELS] == [0.1, 0.2, 0.3, 0.3, 0.3]
    assert threshold(owlv2, score_threshold=0.0) == 0.0


def test_version_depends_on_the_words(make):
    versions = [
        make(owlv2, *names, **options).version
        for names, options in [
            (("cat",), {}),
            (("cat",), {}),
            (("dog",), {}),
            (("cat",), {"prompts": {"cat": "kitten"}}),
            (("cat",), {"iou": 0.4}),
            (("cat",), {"iou_across_labels": 0.4}),
        ]
    ]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 5
