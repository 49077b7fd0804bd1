"""What is computed once, what is computed together, and what it costs besides the model."""

import time

import PIL.Image
import pytest
import torch

from prefect_cvat.exceptions import BadFunctionError

pytest.importorskip("transformers")

from prefect_cvat.auto_annotation.functions._word_models import Found
from tiny_detectors import model_and_processor
from tiny_word_models import WORD_MODELS, grounding_dino, mm_grounding_dino, omdet_turbo, owlv2, owlvit

NAMES = [f"kind {number}" for number in range(100)]


class Calls:
    """Counts the calls of parts of a model."""

    def __init__(self, **parts):
        self.counts = dict.fromkeys(parts, 0)
        for name, part in parts.items():
            forward = part.forward

            def counted(*args, name=name, forward=forward, **kwargs):
                self.counts[name] += 1
                return forward(*args, **kwargs)

            part.forward = counted
        self.parts = parts.values()

    def stop(self):
        for part in self.parts:
            del part.forward


@pytest.fixture
def counted():
    counters = []

    def count(**parts):
        counters.append(Calls(**parts))
        return counters[-1].counts

    yield count
    for calls in counters:
        calls.stop()


@pytest.mark.parametrize("family", [owlvit, owlv2], ids=lambda family: family.__name__)
def test_owl_encodes_words_once_in_a_run_and_images_once(make, family, counted, context, small_photos):
    base = model_and_processor(family)[0].base_model_prefix
    model = getattr(model_and_processor(family)[0], base)
    counts = counted(words=model.text_model, images=model.vision_model)
    function = make(family, *NAMES)
    for photo in small_photos * 2:
        function.detect(context(), photo)
    assert counts == {"words": 2, "images": 6}  # 64 words and the other 36


@pytest.mark.parametrize("family", [grounding_dino, mm_grounding_dino], ids=lambda family: family.__name__)
def test_grounding_dino_encodes_texts_once_in_a_run_and_images_once(
    make, family, counted, context, small_photos
):
    model, processor = model_and_processor(family)
    function = make(family, *NAMES[:30], batch_size=2)
    texts = len(function._words.groups)
    assert texts > 5
    counts = counted(words=model.model.text_backbone, images=model.model.backbone, mixed=model.model.encoder)
    processor.tokenizer, tokenizer = None, processor.tokenizer  # the words were tokenized when it was made
    try:
        for _ in range(2):
            function.detect_batch([context()] * 3, small_photos)  # two of one size
    finally:
        processor.tokenizer = tokenizer
    assert counts == {"words": texts, "images": 2 * 2, "mixed": 2 * 2 * texts}


def test_omdet_encodes_words_once_in_a_run_and_images_once(make, counted, context, small_photos):
    model, _ = model_and_processor(omdet_turbo)
    function = make(omdet_turbo, *NAMES)
    sentences = len(function._words.groups)
    assert sentences > 5
    counts = counted(words=model.language_backbone, images=model.vision_backbone, mixed=model.decoder)
    for photo in small_photos:
        function.detect(context(), photo)
    assert counts == {"words": 2 * sentences, "images": 3, "mixed": 3 * sentences}


@pytest.mark.parametrize("family", [grounding_dino, mm_grounding_dino], ids=lambda family: family.__name__)
def test_parts_of_the_model_are_as_they_were(make, family, context, small_photos):
    model, _ = model_and_processor(family)
    make(family, "cat").detect(context(), small_photos[0])
    assert "forward" not in vars(model.model.backbone)
    assert "forward" not in vars(model.model.text_backbone)


class Stub:
    """In place of a model: finds each label 4 times on an image, in a corner of its own."""

    def __init__(self, labels):
        corners = torch.arange(4.0 * labels).reshape(-1, 1) * 20
        boxes = torch.cat([corners, corners, corners + 15, corners + 10], dim=1)
        words = torch.arange(labels).repeat(4)
        self.found = Found(boxes, torch.linspace(0.9, 0.1, len(boxes)), words)

    def find(self, images, threshold, *, is_best_only):
        return [[self.found] for _ in images]


def test_overhead_for_an_image_and_label_is_small(make, context):
    function = make(owlv2, *(f"kind {number}" for number in range(300)))
    function._words = Stub(300)
    images = [PIL.Image.new("RGB", (640, 480))] * 4
    contexts = [context()] * 4
    function.detect_batch(contexts, images)
    begin = time.thread_time()
    found = function.detect_batch(contexts, images)
    seconds = time.thread_time() - begin
    assert [len(on_image) for on_image in found] == [1200] * 4
    assert seconds / (4 * 300) < 0.001


def found_boxes(*rows):
    boxes, scores, words = zip(*rows, strict=True)
    return Found(torch.tensor(boxes), torch.tensor(scores), torch.tensor(words))


def test_of_overlapping_boxes_the_better_one_stays(make, context):
    """Also of different labels, of different groups of words, and of several wordings."""
    function = make(owlv2, "person", "rider", "horse", prompts={"person": "person, pedestrian"}, iou=0.5)
    person, pedestrian, rider, horse = range(4)
    big = [0.0, 0.0, 100.0, 100.0]

    class Finds:
        def find(self, images, threshold, *, is_best_only):
            return [
                [
                    found_boxes((big, 0.8, person), ([60.0, 0.0, 160.0, 100.0], 0.5, pedestrian)),
                    found_boxes(
                        ([0.0, 0.0, 100.0, 60.0], 0.7, pedestrian),  # IoU 0.6
                        ([0.0, 0.0, 100.0, 90.0], 0.9, rider),  # IoU 0.9
                        ([0.0, 0.0, 100.0, 70.0], 0.4, horse),  # IoU 0.7 and 0.78
                    ),
                ]
            ]

    function._words = Finds()
    found = function.detect(context(), PIL.Image.new("RGB", (200, 200)))
    assert [(shape.label_id, round(shape.score, 3), shape.points) for shape in found] == [
        (1, 0.9, [0.0, 0.0, 100.0, 90.0]),
        (0, 0.5, [60.0, 0.0, 160.0, 100.0]),
        (2, 0.4, [0.0, 0.0, 100.0, 70.0]),
    ]
    function.iou_across_labels = 1.0
    found = function.detect(context(), PIL.Image.new("RGB", (200, 200)))
    assert [shape.label_id for shape in found] == [1, 0, 0, 2]


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_threshold_of_the_run_overrides_that_of_the_function(make, family, context, small_photos):
    settings = {"iou": 1.0, "iou_across_labels": 1.0}
    found = make(family, "cat", "cone", **settings).detect(context(), small_photos[0])
    middle = sorted(shape.score for shape in found)[len(found) // 2]
    strict = make(family, "cat", "cone", score_threshold=middle - 1e-6, batch_size=3, **settings)
    kept, none, all_of_it = strict.detect_batch(
        [context(), context(1.0), context(0.0)], [small_photos[0]] * 3
    )
    assert 0 < len(kept) < len(found)
    assert min(shape.score for shape in kept) == pytest.approx(middle, abs=1e-5)
    assert none == []
    assert len(all_of_it) == len(found)


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_half_precision_finds_nearly_the_same(make, family, context, small_photos):
    whole, half = (
        make(family, "cat", "cone", half_precision=half_precision).detect(context(), small_photos[0])
        for half_precision in (False, True)
    )
    assert [shape.score for shape in whole] != [shape.score for shape in half]
    assert whole[0].score == pytest.approx(half[0].score, abs=0.1)


def test_batches_are_halved_until_they_fit(make, context, small_photos):
    function = make(owlv2, "cat", batch_size=4)
    expected = function.detect(context(), small_photos[0])
    embedder, batches = function._model.image_embedder, []

    def with_little_memory(pixels):
        batches.append(len(pixels))
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embedder(pixels)

    function._model.image_embedder = with_little_memory
    try:
        found = function.detect_batch([context()] * 4, [small_photos[0]] * 4)
    finally:
        del function._model.image_embedder
    assert batches == [4, 2, 1, 1, 1, 1]
    assert [len(shapes) for shapes in found] == [len(expected)] * 4


def test_cpu_is_suggested_if_not_even_one_image_fits(make, context, small_photos):
    function = make(owlv2, "cat")

    def without_memory(pixels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    function._model.image_embedder = without_memory
    function._device = torch.device("cuda:0")
    try:
        with pytest.raises(BadFunctionError) as refused:
            function.detect(context(), small_photos[0])
    finally:
        del function._model.image_embedder
    assert str(refused.value) == (
        "an image does not fit into the memory of cuda:0; use device='cpu', a larger device or a smaller model"
    )


def test_closed_function_raises_an_error(make, context, small_photos):
    function = make(owlv2, "cat")
    function.close()
    with pytest.raises(RuntimeError, match="the function is closed"):
        function.detect(context(), small_photos[0])


@pytest.mark.parametrize("family", WORD_MODELS, ids=lambda family: family.__name__)
def test_model_of_16_bits_finds_something(make, family, context, small_photos):
    model, processor = model_and_processor(family)
    function = make(family, "cat", "cone", model=model.to(torch.bfloat16), processor=processor)
    assert function.detect(context(), small_photos[0])
