import pytest
import torch
from cvat_sdk.auto_annotation.functions import torchvision_detection as sdk_torchvision_detection
from torch import nn

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions import nanodet_detection, torchvision_detection

LABEL_MAP = {1: "person", 2: "kite", 3: "bicycle", 4: "car"}


class FixedModel(nn.Module):
    """Finds the same boxes on every image, and notes how it was called."""

    def __init__(self, boxes, labels, scores):
        super().__init__()
        self.register_buffer("boxes", torch.tensor(boxes))
        self.register_buffer("labels", torch.tensor(labels))
        self.register_buffer("scores", torch.tensor(scores))
        self.calls = []

    def forward(self, images):
        self.calls.append([tuple(image.shape) for image in images])
        self.seen = images
        return [{"boxes": self.boxes, "labels": self.labels, "scores": self.scores} for _ in images]


@pytest.fixture
def fixed_model():
    return FixedModel(
        [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 10.0, 20.0], [2.0, 2.0, 4.0, 4.0]],
        [1, 2, 3, 1],
        [0.9, 0.7, 0.5, 0.0],
    )


def test_detections_equal_those_of_the_sdk(detector_name, context, photos):
    ours = torchvision_detection.create(detector_name, device="cpu")
    theirs = sdk_torchvision_detection.create(detector_name)
    for threshold in (0.0, 0.28):
        for image in photos:
            found = ours.detect(context(threshold), image)
            expected = theirs.detect(context(threshold), image)
            assert [shape.label_id for shape in found] == [shape.label_id for shape in expected]
            assert [shape.points for shape in found] == [shape.points for shape in expected]
            assert all(shape.type == "rectangle" for shape in found)
    found = ours.detect(context(0.0), photos[0])
    assert len(found) == 20
    assert {shape.label_id for shape in found} == {2, 3}
    assert 0 < len(ours.detect(context(0.28), photos[0])) < 20


def test_model_by_name_has_the_object_labels_of_its_weights(detector_name):
    function = torchvision_detection.create(detector_name, "RANDOM", device="cpu")
    assert [(label.id, label.name, label.type) for label in function.spec.labels] == [
        (2, "person", "rectangle"),
        (3, "bicycle", "rectangle"),
        (4, "car", "rectangle"),
    ]


def test_options_reach_the_model_by_name(detector_name, context, photos):
    function = torchvision_detection.create(detector_name, device="cpu", box_detections_per_img=3)
    assert len(function.detect(context(0.0), photos[0])) == 3


def test_model_object_finds_the_same_as_by_name(detector_name, random_detector, context, photos):
    by_name = torchvision_detection.create(detector_name, device="cpu")
    label_map = {label.id: label.name for label in by_name.spec.labels}
    by_object = torchvision_detection.create(model=random_detector, label_map=label_map, device="cpu")
    assert by_object.spec == by_name.spec
    assert by_object.detect(context(0.0), photos[0]) == by_name.detect(context(0.0), photos[0])


def test_model_object_is_put_into_evaluation_mode(fixed_model):
    torchvision_detection.create(model=fixed_model.train(), label_map=LABEL_MAP, device="cpu")
    assert not fixed_model.training


def test_scores_are_those_of_the_model(fixed_model, context, photos):
    function = torchvision_detection.create(model=fixed_model, label_map=LABEL_MAP, device="cpu")
    found = function.detect(context(0.0), photos[0])
    assert [shape.score for shape in found] == pytest.approx([0.9, 0.7, 0.5, 0.0])


@pytest.mark.parametrize(
    ("of_run", "of_function", "expected"),
    [
        (None, None, 3),
        (0.0, None, 4),
        (0.6, None, 2),
        (None, 0.8, 1),
        (0.6, 0.8, 2),
        (None, 0.0, 4),
        (1.0, 0.0, 0),
    ],
)
def test_threshold(fixed_model, context, photos, of_run, of_function, expected):
    options = {} if of_function is None else {"score_threshold": of_function}
    function = torchvision_detection.create(model=fixed_model, label_map=LABEL_MAP, device="cpu", **options)
    assert len(function.detect(context(of_run), photos[0])) == expected


def test_classes_not_in_the_map_are_dropped(fixed_model, context, photos):
    function = torchvision_detection.create(model=fixed_model, label_map={2: "kite"}, device="cpu")
    assert [label.name for label in function.spec.labels] == ["kite"]
    (found,) = function.detect(context(0.0), photos[0])
    assert (found.label_id, found.points) == (2, [5, 6, 7, 8])


def test_classes_with_equal_names_are_one_label(fixed_model, context, photos):
    label_map = {3: "vehicle", 1: "person", 2: "vehicle"}
    function = torchvision_detection.create(model=fixed_model, label_map=label_map, device="cpu")
    assert sorted((label.id, label.name) for label in function.spec.labels) == [(1, "person"), (2, "vehicle")]
    assert [shape.label_id for shape in function.detect(context(0.0), photos[0])] == [1, 2, 2, 1]


def test_class_numbers_may_be_strings_as_in_json(fixed_model, context, photos):
    function = torchvision_detection.create(model=fixed_model, label_map={"1": "person"}, device="cpu")
    assert [shape.label_id for shape in function.detect(context(), photos[0])] == [1]


def test_images_are_given_to_the_model_in_batches(fixed_model, context, photos):
    function = torchvision_detection.create(
        model=fixed_model, label_map=LABEL_MAP, device="cpu", batch_size=2
    )
    assert function.batch_size == 2
    found = function.detect_batch([context(0.8), context(0.0), context(1.0)], photos)
    assert [len(shapes) for shapes in found] == [1, 4, 0]
    assert fixed_model.calls == [[(3, 512, 512), (3, 400, 600)], [(3, 300, 451)]]
    assert function.detect_batch([], []) == []


def test_batch_detections_equal_single_image_detections(random_detector, context, photos):
    function = torchvision_detection.create(
        model=random_detector, label_map=LABEL_MAP, device="cpu", batch_size=3
    )
    # Of one size: an R-CNN pads the images of a batch to one size, which changes its results.
    images = [photo.crop((100, 0, 400, 300)) for photo in photos]
    together = function.detect_batch([context(0.0)] * 3, images)
    for image, found in zip(images, together, strict=True):
        alone = function.detect(context(0.0), image)
        assert [shape.label_id for shape in found] == [shape.label_id for shape in alone]
        for shape, expected in zip(found, alone, strict=True):
            assert shape.points == pytest.approx(expected.points, abs=0.1)


def test_model_runs_without_gradients_on_values_from_0_to_1(fixed_model, context, photos):
    function = torchvision_detection.create(model=fixed_model, label_map=LABEL_MAP, device="cpu")
    function.detect(context(), photos[0])
    (image,) = fixed_model.seen
    assert image.dtype == torch.float32
    assert image.is_inference()
    assert (image[:, 30, 40] * 255).round().tolist() == list(photos[0].getpixel((40, 30)))


def test_boxes_are_in_pixels_of_the_image_when_transforms_resize_it(fixed_model, context, photos):
    def half_width_third_height(image):
        return torch.zeros(3, image.height // 4, image.width // 2)

    function = torchvision_detection.create(
        model=fixed_model, label_map=LABEL_MAP, transforms=half_width_third_height, device="cpu"
    )
    (shape, *_) = function.detect(context(), photos[0])
    assert shape.points == [2, 8, 6, 16]


def test_half_precision_finds_nearly_the_same(context, photos):
    (exact,) = nanodet_detection.create(device="cpu").detect(context(), photos[0])
    (rough,) = nanodet_detection.create(device="cpu", half_precision=True).detect(context(), photos[0])
    assert rough.label_id == exact.label_id
    assert rough.points == pytest.approx(exact.points, abs=15)
    assert rough.points != exact.points


def test_model_that_returns_something_else_is_named(context, photos):
    class Boxes(nn.Module):
        def forward(self, images):
            return [{"boxes": torch.zeros(0, 4)} for _ in images]

    function = torchvision_detection.create(model=Boxes(), label_map=LABEL_MAP, device="cpu")
    with pytest.raises(BadFunctionError, match="returns no labels, scores; it returns boxes"):
        function.detect(context(), photos[0])


def test_closed_function_raises_an_error(fixed_model, context, photos):
    function = torchvision_detection.create(model=fixed_model, label_map=LABEL_MAP, device="cpu")
    function.close()
    function.close()
    with pytest.raises(RuntimeError, match="closed"):
        function.detect(context(), photos[0])


def test_version_contains_everything_that_affects_results(context):
    def version(model=None, **options):
        if model is None:
            model = FixedModel([[0.0, 0.0, 1.0, 1.0]], [1], [1.0])
        function = torchvision_detection.create(
            model=model, **({"label_map": {1: "a", 2: "b"}, "device": "cpu"} | options)
        )
        return function.version

    assert version() == version()
    assert version() == version(batch_size=2)
    assert version() == version(label_map={2: "b", 1: "a"})
    others = [
        version(FixedModel([[0.0, 0.0, 1.0, 1.5]], [1], [1.0])),
        version(label_map={1: "b", 2: "a"}),
        version(score_threshold=0.4),
        version(half_precision=True),
        version(transforms=lambda image: torch.zeros(3, 1, 1)),
        version(transforms=lambda image: torch.ones(3, 1, 1)),
    ]
    assert len({version(), *others}) == 7


def test_version_depends_on_the_settings_of_the_model(random_detector):
    def version():
        return torchvision_detection.create(model=random_detector, label_map=LABEL_MAP, device="cpu").version

    before = version()
    for owner, name, value in (
        (random_detector.roi_heads, "nms_thresh", 0.9),
        (random_detector.rpn, "_post_nms_top_n", {"training": 5, "testing": 5}),
        (random_detector.transform, "image_mean", [0.5, 0.5, 0.5]),
    ):
        original = getattr(owner, name)
        setattr(owner, name, value)
        assert version() != before
        setattr(owner, name, original)
    assert version() == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "either model_name or model"),
        ({"model_name": "fasterrcnn_resnet50_fpn", "model": nn.Identity()}, TypeError, "either"),
        ({"model_name": nn.Identity()}, TypeError, "model=..."),
        ({"model": "fasterrcnn_resnet50_fpn"}, TypeError, "torch.nn.Module, not str"),
        ({"model": nn.Identity()}, ValueError, "label_map"),
        ({"model": nn.Identity(), "label_map": {}}, ValueError, "label_map is empty"),
        ({"model": nn.Identity(), "label_map": LABEL_MAP, "box_nms_thresh": 1}, TypeError, "box_nms_thresh"),
        ({"model": nn.Identity(), "label_map": LABEL_MAP, "score_threshold": 40}, ValueError, "40"),
        ({"model": nn.Identity(), "label_map": LABEL_MAP, "batch_size": 0}, ValueError, "batch_size"),
        ({"model": nn.Identity(), "label_map": LABEL_MAP, "device": "gpu"}, ValueError, "'gpu'.*cpu"),
        ({"model_name": "fasterrcnn"}, ValueError, "fasterrcnn"),
        ({"model_name": "fasterrcnn_resnet50_fpn", "weights_name": "COCO"}, ValueError, "'COCO'.*COCO_V1"),
    ],
)
def test_invalid_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        torchvision_detection.create(**arguments)
