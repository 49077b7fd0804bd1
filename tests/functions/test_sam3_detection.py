"""SAM 3 for images with random weights: what it finds, and how often it encodes."""

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.auto_annotation import ExistingShape
from prefect_cvat.auto_annotation.functions import sam3_detection
from prefect_cvat.auto_annotation.functions._device_memory import suggesting_the_cpu
from prefect_cvat.auto_annotation.functions._sam3_exemplars import exemplars_of
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError
from prefect_cvat.inference.detection_calls import DetectionContext
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask
from sam2_models import write_tiny_sam2

transformers = pytest.importorskip("transformers", minversion="5")
pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = [TaskLabel("cat", "rectangle"), TaskLabel("red_dog", "any"), TaskLabel("tree", "polygon")]
WIDTH, HEIGHT = 200, 150


@pytest.fixture(scope="module")
def small_photos():
    photos = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    sizes = ((WIDTH, HEIGHT), (90, 120), (WIDTH, HEIGHT))
    return [PIL.Image.fromarray(photo).resize(size) for photo, size in zip(photos, sizes, strict=True)]


def make(sam3_folder, labels=LABELS, **options):
    settings = {"model": str(sam3_folder), "device": "cpu", "score_threshold": 0.0}
    return sam3_detection.create(task_labels=labels, **(settings | options))


def of_transformers(sam3_folder, image, words, **boxes):
    """What the model and the processor of transformers find."""
    model = transformers.Sam3Model.from_pretrained(sam3_folder)
    processor = transformers.Sam3Processor.from_pretrained(sam3_folder)
    inputs = processor(images=image, text=words, return_tensors="pt", **boxes)
    with torch.inference_mode():
        outputs = model(**inputs)
    size = (image.height, image.width)
    [found] = processor.post_process_instance_segmentation(outputs, threshold=0.0, target_sizes=[size])
    order = found["scores"].argsort(descending=True, stable=True)
    return {name: values[order] for name, values in found.items()}


def of_label(found, label_id):
    return [shape for shape in found if shape.label_id == label_id]


def everything(found):
    return [value for shape in found for value in (shape.label_id, shape.score, *shape.points)]


def existing(label_id, box, source="manual", *, is_deleted=False):
    return ExistingShape(
        label_id=label_id,
        type="rectangle",
        points=tuple(box),
        rotation=0.0,
        box=tuple(box),
        source=source,
        is_deleted=is_deleted,
    )


def test_boxes_and_masks_are_those_of_transformers(sam3_folder, small_photos):
    function = make(sam3_folder)
    found = function.detect(DetectionContext("a"), small_photos[0])
    cats, dogs = of_label(found, 0), of_label(found, 1)
    expected = of_transformers(sam3_folder, small_photos[0], "cat")
    np.testing.assert_allclose([shape.score for shape in cats], expected["scores"], atol=1e-5)
    np.testing.assert_allclose([shape.points for shape in cats], expected["boxes"], atol=1e-2)
    expected = of_transformers(sam3_folder, small_photos[0], "red dog")
    not_empty = expected["masks"].sum((1, 2)) > 0
    assert len(dogs) == int(not_empty.sum()) >= 5
    np.testing.assert_allclose([shape.score for shape in dogs], expected["scores"][not_empty], atol=1e-5)
    for shape, mask in zip(dogs, expected["masks"][not_empty].numpy(), strict=True):
        decoded = decode_mask(shape.points, image_width=WIDTH, image_height=HEIGHT)
        assert (decoded == mask.astype(bool)).mean() > 0.9999


def test_type_of_the_label_decides_the_type_of_shapes(sam3_folder, small_photos):
    function = make(sam3_folder)
    assert [(label.name, label.type) for label in function.spec.labels] == [
        ("cat", "rectangle"),
        ("red_dog", "mask"),
        ("tree", "polygon"),
    ]
    for as_polygons, of_any in ((False, "mask"), (True, "polygon")):
        context = DetectionContext("a", conv_mask_to_poly=as_polygons)
        found = function.detect(context, small_photos[0])
        checked = OutputChecker(function.spec.labels, conv_mask_to_poly=as_polygons).check(0, found)
        types = {(shape.label_id, shape.type.value) for shape in checked.shapes}
        assert types == {(0, "rectangle"), (1, of_any), (2, "polygon")}


@pytest.mark.parametrize("half_precision", [False, True])
def test_batch_finds_the_same_as_single_images(sam3_folder, small_photos, half_precision):
    function = make(sam3_folder, batch_size=3, half_precision=half_precision)
    function._prompting._batches._size = 4  # of nine questions
    contexts = [DetectionContext("a"), DetectionContext("b", conf_threshold=0.35), DetectionContext("c")]
    together = function.detect_batch(contexts, small_photos)
    alone = [function.detect(*each) for each in zip(contexts, small_photos, strict=True)]
    assert all(alone)
    assert min(shape.score for shape in alone[1]) >= 0.35 > min(shape.score for shape in alone[0])
    if not half_precision:
        for found, expected in zip(together, alone, strict=True):
            assert [len(found), everything(found)[:9]] == [
                len(expected),
                pytest.approx(everything(expected)[:9], abs=0.01),
            ]


def test_each_image_and_each_prompt_is_encoded_once(sam3_folder, small_photos, monkeypatch):
    function = make(sam3_folder, [TaskLabel(f"label {'abcdefgh'[n]}", "rectangle") for n in range(8)])
    encoded = {"images": 0, "prompts": 0}

    def counting(name, what, count):
        original = getattr(function._model, name)

        def call(**inputs):
            encoded[what] += len(inputs[count])
            return original(**inputs)

        monkeypatch.setattr(function._model, name, call)

    counting("get_vision_features", "images", "pixel_values")
    counting("get_text_features", "prompts", "input_ids")
    for photo in small_photos:
        assert function.detect(DetectionContext("a"), photo)
    assert encoded == {"images": 3, "prompts": 8}


def test_several_wordings_of_a_label_find_an_object_once(sam3_folder, small_photos):
    function = make(sam3_folder, LABELS[:1], prompts={"cat": "cat, small animal"})
    found = function.detect(DetectionContext("a"), small_photos[0])
    alone = [
        make(sam3_folder, LABELS[:1], prompts={"cat": [words]}).detect(DetectionContext("a"), small_photos[0])
        for words in ("cat", "small animal")
    ]
    assert max(map(len, alone)) <= len(found) < sum(map(len, alone))
    assert found[0].score == max(shape.score for each in alone for shape in each)
    scores = [shape.score for shape in found]
    assert scores == sorted(scores, reverse=True)


BOX = (20.0, 30.0, 40.0, 45.0)
"""Much smaller than all that is found, so that nothing is taken for the exemplar."""


def test_exemplars_are_boxes_for_the_model(sam3_folder, small_photos):
    function = make(sam3_folder, exemplars="manual")
    assert function.reads_existing_shapes
    shapes = [
        existing(0, BOX),
        existing(0, (190.0, 140.0, 300.0, 400.0)),  # the part of it in the image
        existing(0, (10.0, 10.0, 60.0, 60.0), source="auto"),
        existing(0, (10.0, 60.0, 60.0, 110.0), source="file"),  # perhaps predictions
        existing(0, (70.0, 10.0, 90.0, 30.0), source="auto", is_deleted=True),
        existing(0, (300.0, 10.0, 400.0, 60.0)),  # outside
        existing(0, (50.0, 50.0, 50.0, 50.0)),  # a point
    ]
    context = DetectionContext("a", existing_shapes=shapes)
    found = function.detect(context, small_photos[0])
    expected = of_transformers(
        sam3_folder,
        small_photos[0],
        ["cat"],
        input_boxes=[[list(BOX), [190.0, 140.0, WIDTH, HEIGHT], [70.0, 10.0, 90.0, 30.0]]],
        input_boxes_labels=[[1, 1, 0]],
    )
    np.testing.assert_allclose([each.score for each in of_label(found, 0)], expected["scores"], atol=1e-5)
    without = function.detect(DetectionContext("a"), small_photos[0])
    assert everything(of_label(found, 0)) != everything(of_label(without, 0))
    assert everything(of_label(found, 1)) == everything(of_label(without, 1)), (
        "exemplars of its own label only"
    )
    words_only = make(sam3_folder)
    assert not words_only.reads_existing_shapes
    assert everything(words_only.detect(context, small_photos[0])) == everything(without)


def test_a_deleted_duplicate_is_no_exemplar():
    left, moved, other = (20.0, 20.0, 60.0, 60.0), (24.0, 20.0, 64.0, 60.0), (60.0, 60.0, 90.0, 90.0)

    def negative(*shapes):
        found = exemplars_of(DetectionContext("a", existing_shapes=shapes), (100, 100))
        return [each.box for of_label in found.values() for each in of_label if not each.is_positive]

    deleted = existing(0, moved, source="auto", is_deleted=True)
    for source in ("auto", "manual", "file"):
        assert negative(existing(0, left, source=source), deleted) == [], "its object is still there"
    assert negative(existing(1, left, source="auto"), deleted) == [(0.24, 0.2, 0.64, 0.6)], "another label"
    assert negative(existing(0, other, source="auto"), deleted) == [(0.24, 0.2, 0.64, 0.6)]
    assert negative(existing(0, left, source="auto", is_deleted=True)) == [(0.2, 0.2, 0.6, 0.6)]


def test_what_was_drawn_is_not_found_again(sam3_folder, small_photos):
    function = make(sam3_folder, LABELS[:1], exemplars="manual")
    [first, *_] = function.detect(DetectionContext("a", existing_shapes=[existing(0, BOX)]), small_photos[0])
    box = tuple(np.clip(first.points, 0, [WIDTH, HEIGHT] * 2).tolist())
    found = function.detect(
        DetectionContext("a", existing_shapes=[existing(0, BOX), existing(0, box)]), small_photos[0]
    )
    for shape in found:
        left, top, right, bottom = np.clip(shape.points, 0, [WIDTH, HEIGHT] * 2)
        common = max(0, min(right, box[2]) - max(left, box[0])) * max(
            0, min(bottom, box[3]) - max(top, box[1])
        )
        union = (right - left) * (bottom - top) + (box[2] - box[0]) * (box[3] - box[1]) - common
        assert common / union < 0.6


def test_version_depends_on_labels_words_and_exemplars(sam3_folder):
    version = make(sam3_folder).version
    assert make(sam3_folder).version == version
    others = [
        make(sam3_folder, LABELS[:2]),
        make(sam3_folder, [TaskLabel("cat", "mask"), *LABELS[1:]]),
        make(sam3_folder, prompts={"cat": "kitten"}),
        make(sam3_folder, exemplars="manual"),
        make(sam3_folder, tolerance=2.0),
    ]
    assert len({version, *(other.version for other in others)}) == 6


def test_batches_become_small_enough_for_the_memory(sam3_folder, small_photos, monkeypatch):
    function = make(sam3_folder, batch_size=3)
    expected = [function.detect(DetectionContext("a"), photo) for photo in small_photos]
    encode = function._model.get_vision_features
    forward = function._model.forward
    sizes = {"images": [], "questions": []}

    def encode_some(pixel_values):
        sizes["images"].append(len(pixel_values))
        if len(pixel_values) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(pixel_values=pixel_values)

    def answer_some(**inputs):
        sizes["questions"].append(len(inputs["attention_mask"]))
        if sizes["questions"][-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    monkeypatch.setattr(function._model, "get_vision_features", encode_some)
    monkeypatch.setattr(function._model, "forward", answer_some)
    function._prompting._batches._size = 3
    found = function.detect_batch([DetectionContext("a")] * 3, small_photos)
    assert list(map(len, found)) == list(map(len, expected))
    assert sizes["images"] == [3, 1, 1, 1]
    assert sizes["questions"][:2] == [3, 1]


def test_error_of_a_device_that_is_too_small_suggests_the_cpu():
    with (
        pytest.raises(
            BadFunctionError, match="SAM 3 does not fit into the memory of cuda:1; use device='cpu'"
        ),
        suggesting_the_cpu(torch.device("cuda:1"), "SAM 3"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another"), suggesting_the_cpu(torch.device("cuda:1"), "SAM 3"):
        raise RuntimeError("another")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": {"cat": "very " * 10 + "long words"}}, "label 'cat' has .* tokens, and SAM 3 reads 32"),
        ({"prompts": {"dog": "dog"}}, "not labels of the task"),
        ({"exemplars": "auto"}, "exemplars must be 'manual' or None, not 'auto'"),
        (
            {"exemplars": "manual", "half_precision": True},
            "exemplars cannot be used with half_precision on a CPU",
        ),
        ({"tolerance": -1}, "tolerance must be 0 or more"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_invalid_arguments_are_refused(sam3_folder, options, message):
    with pytest.raises((BadFunctionError, ValueError), match=message):
        make(sam3_folder, **options)


def test_missing_weights_error_says_in_one_line_how_to_download_them(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FunctionLoadError, match="hf download facebook/sam3") as caught:
        sam3_detection.create(task_labels=LABELS, device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(FunctionLoadError, match="Sam3Model cannot be loaded from the folder"):
        sam3_detection.create(task_labels=LABELS, device="cpu", model=str(tmp_path))


def test_model_of_another_family_is_refused(tmp_path):
    write_tiny_sam2(tmp_path, video=False)
    with pytest.raises(FunctionLoadError, match="is a model of type 'sam2', not 'sam3'"):
        sam3_detection.create(task_labels=LABELS, device="cpu", model=str(tmp_path))


def test_gated_weights_error_names_the_licence(monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it at ...")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(
        FunctionLoadError, match="accept it at https://huggingface.co/facebook/sam3, then run"
    ):
        sam3_detection.create(task_labels=LABELS, device="cpu")


def test_missing_transformers_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[transformers\]"'):
        sam3_detection.create(task_labels=LABELS)
