"""SAM 3 with random weights finds what words describe in a video, and follows it."""

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.auto_annotation.functions import sam3_word_tracking
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError
from prefect_cvat.inference.detection_calls import DetectionContext
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask

transformers = pytest.importorskip("transformers", minversion="5")
pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = [TaskLabel("cat", "rectangle"), TaskLabel("red_dog", "any"), TaskLabel("tree", "polygon")]
WIDTH, HEIGHT = 200, 150
THRESHOLD = 0.4


@pytest.fixture(scope="module")
def photo():
    return PIL.Image.fromarray(skimage.data.astronaut()).resize((WIDTH, HEIGHT))


def make(sam3_folder, labels=LABELS, **options):
    settings = {"model": str(sam3_folder), "device": "cpu", "score_threshold": THRESHOLD}
    return sam3_word_tracking.create(task_labels=labels, **(settings | options))


def watch(function, images, context=None):
    return [function.detect(context or DetectionContext("a"), image) for image in images]


def without_dropping(function):
    """As in a session of transformers that gets frames one by one."""
    function._model.config.hotstart_delay = 0
    return function


def test_objects_are_those_of_a_session_of_transformers(sam3_folder, photo):
    """Its own streaming, which keeps everything, over more images than the model looks back."""
    images = [photo.rotate(3 * number) for number in range(18)]
    labels = [TaskLabel("tree", "mask"), TaskLabel("cat", "mask")]
    function = without_dropping(make(sam3_folder, labels, lost_after=100))
    model = transformers.Sam3VideoModel.from_pretrained(sam3_folder)
    model.new_det_thresh = model.score_threshold_detection = THRESHOLD
    processor = transformers.Sam3VideoProcessor.from_pretrained(sam3_folder)
    session = processor.init_video_session(inference_device="cpu")
    processor.add_text_prompt(session, ["tree", "cat"])
    numbers = set()
    for number, image in enumerate(images):
        found = {shape.group: shape for shape in function.detect(DetectionContext("a"), image)}
        inputs = processor(images=image, return_tensors="pt")
        with torch.inference_mode():
            outputs = model(session, frame=inputs["pixel_values"][0])
        expected = processor.postprocess_outputs(session, outputs, inputs["original_sizes"])
        masks = {
            object_id + 1: mask.numpy()
            for object_id, mask in zip(expected["object_ids"].tolist(), expected["masks"], strict=True)
            if mask.any()
        }
        assert found.keys() == masks.keys(), number
        scores = dict(zip(expected["object_ids"].tolist(), expected["scores"].tolist(), strict=True))
        for key, shape in found.items():
            mask = decode_mask(shape.points, image_width=WIDTH, image_height=HEIGHT)
            assert (mask == masks[key]).mean() > 0.995, (number, key)
            assert shape.score == pytest.approx(scores[key - 1], abs=1e-4)
            words = "tree" if shape.label_id == 0 else "cat"
            assert key - 1 in expected["prompt_to_obj_ids"][words]
        numbers |= found.keys()
    assert len(numbers) >= 3


def test_type_of_the_label_decides_the_type_of_shapes(sam3_folder, photo):
    images = [photo, photo.rotate(3)]
    for as_polygons, of_any in ((False, "mask"), (True, "polygon")):
        function = make(sam3_folder, score_threshold=0.3)
        context = DetectionContext("a", conv_mask_to_poly=as_polygons)
        for found in watch(function, images, context):
            checker = OutputChecker(function.spec.labels, conv_mask_to_poly=as_polygons)
            shapes = checker.check(0, found).shapes
            types = {(shape.label_id, shape.type.value) for shape in shapes}
            assert types == {(0, "rectangle"), (1, of_any), (2, "polygon")}
            groups = [shape.group for shape in shapes]
            assert len(set(groups)) == len(groups)
            assert min(groups) >= 1


def test_begin_video_forgets_all_objects(sam3_folder, photo):
    function = make(sam3_folder)
    images = [photo.rotate(3 * number) for number in range(3)]
    first = watch(function, images)
    function.begin_video()
    again = watch(function, images)
    assert [[(s.group, s.points) for s in found] for found in again] == [
        [(s.group, s.points) for s in found] for found in first
    ]


def test_threshold_of_the_run_decides_which_objects_are_followed(sam3_folder, photo):
    function = make(sam3_folder)
    counts = []
    for threshold in (0.3, 0.45, 1.0):
        function.begin_video()
        [found] = watch(function, [photo], DetectionContext("a", conf_threshold=threshold))
        assert all(shape.score >= threshold for shape in found)
        counts.append(len(found))
    assert counts[0] > counts[1] >= counts[2] == 0


def test_prompts_are_encoded_once_and_each_image_once(sam3_folder, photo, monkeypatch):
    function = make(sam3_folder)
    encoded = {"get_vision_features": 0, "get_text_features": 0}
    for name in encoded:
        original = getattr(function._model.detector_model, name)

        def call(original=original, name=name, **inputs):
            encoded[name] += 1
            return original(**inputs)

        monkeypatch.setattr(function._model.detector_model, name, call)
    watch(function, [photo.rotate(number) for number in range(5)])
    assert encoded == {"get_vision_features": 5, "get_text_features": 3}


def test_objects_that_turn_out_to_be_none_are_dropped(sam3_folder, photo):
    function = make(sam3_folder)
    found = watch(function, [photo.rotate(3 * number) for number in range(16)])
    dropped = function.dropped_objects
    assert dropped
    last = [shape.group for shape in found[-1]]
    assert not dropped & set(last)


def held(function):
    """What the session holds: numbers in tensors, and entries of its tables."""
    tables = [
        value for value in vars(function._session._session).values() if isinstance(value, dict | set | list)
    ]

    def numbers(value):
        if isinstance(value, torch.Tensor):
            return value.numel()
        if isinstance(value, dict):
            return sum(map(numbers, value.values()))
        return sum(map(numbers, value)) if isinstance(value, list | tuple) else 0

    return sum(map(numbers, tables)), sum(len(list(table)) for table in tables)


def test_memory_depends_on_the_objects_that_are_seen_and_not_on_the_length(sam3_folder, photo):
    """Objects come and go: each time that the picture is seen there are new ones."""
    function = make(sam3_folder, LABELS[:2], lost_after=4)
    gray = PIL.Image.new("RGB", (WIDTH, HEIGHT), "gray")
    held_after, seen = [], []
    for _ in range(5):
        found = watch(function, [photo, photo.rotate(3)])
        seen.append({shape.group for shapes in found for shape in shapes})
        watch(function, [gray] * 7, DetectionContext("a", conf_threshold=1.0))
        held_after.append(held(function))
    assert len(set.union(*seen)) > 2 * max(map(len, seen)), "not the same objects"
    for late, early in zip(max(held_after[2:]), max(held_after[:2]), strict=True):
        assert late <= early


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": {"cat": "very " * 10 + "long words"}}, "label 'cat' has .* tokens, and SAM 3 reads 32"),
        ({"score_threshold": 2}, "score_threshold must be between 0 and 1"),
        ({"lost_after": 0}, "lost_after must be 1 or more"),
        ({"tolerance": -1}, "tolerance must be 0 or more"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_invalid_arguments_are_refused(sam3_folder, options, message):
    with pytest.raises((BadFunctionError, ValueError), match=message):
        make(sam3_folder, **options)


def test_missing_weights_error_says_how_to_download_them(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FunctionLoadError, match="hf download facebook/sam3"):
        sam3_word_tracking.create(task_labels=LABELS, device="cpu")


def test_masks_of_a_prompt_do_not_overlap(sam3_folder, photo):
    labels = [TaskLabel("tree", "mask")]
    function = make(sam3_folder, labels, score_threshold=0.3)
    for found in watch(function, [photo, photo.rotate(3)]):
        masks = [decode_mask(s.points, image_width=WIDTH, image_height=HEIGHT) for s in found]
        assert len(masks) > 1
        assert np.sum(masks, axis=0).max() == 1


def test_closed_function_may_be_closed_again_and_says_that_it_is_closed(sam3_folder, photo):
    function = make(sam3_folder)
    function.close()
    function.close()
    with pytest.raises(RuntimeError, match="the function is closed"):
        function.detect(DetectionContext("a"), photo)


def test_folder_that_does_not_exist_is_named():
    with pytest.raises(FunctionLoadError, match="there is no folder '/nowhere/sam3' for"):
        sam3_word_tracking.create(task_labels=LABELS, model="/nowhere/sam3", device="cpu")
