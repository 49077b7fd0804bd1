import math

import pytest
import torch
from cvat_sdk.auto_annotation.functions import (
    torchvision_keypoint_detection as sdk_torchvision_keypoint_detection,
)
from torch import nn

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions import torchvision_keypoint_detection

FIRST_FIVE = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]


class FixedModel(nn.Module):
    """Finds one person of three keypoints on every image."""

    def __init__(self, scores=None):
        super().__init__()
        self.output = {
            "boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]),
            "labels": torch.tensor([1]),
            "scores": torch.tensor([0.75]),
            "keypoints": torch.tensor([[[1.0, 2.0, 1.0], [3.0, 4.0, 0.0], [5.0, 6.0, 1.0]]]),
        }
        if scores is not None:
            self.output["keypoints_scores"] = torch.tensor([scores])

    def forward(self, images):
        return [dict(self.output) for _ in images]


def test_detections_equal_those_of_the_sdk(keypoint_rcnn_name, context, photos):
    ours = torchvision_keypoint_detection.create(
        keypoint_rcnn_name, keypoint_threshold=-math.inf, device="cpu"
    )
    theirs = sdk_torchvision_keypoint_detection.create(keypoint_rcnn_name)
    found = ours.detect(context(0.0), photos[0])
    expected = theirs.detect(context(0.0), photos[0])
    assert len(found) > 5
    for shape, same in zip(found, expected, strict=True):
        assert shape.type == "skeleton"
        assert shape.label_id == same.label_id
        assert [(each.label_id, each.points, each.occluded) for each in shape.elements] == [
            (each.label_id, each.points, each.occluded) for each in same.elements
        ]


def test_model_by_name_has_the_skeletons_of_its_weights(keypoint_rcnn_name):
    function = torchvision_keypoint_detection.create(keypoint_rcnn_name, device="cpu")
    (label,) = function.spec.labels
    assert (label.id, label.name, label.type) == (1, "person", "skeleton")
    assert [sublabel.id for sublabel in label.sublabels] == list(range(17))
    assert [sublabel.name for sublabel in label.sublabels][:5] == FIRST_FIVE
    assert label.sublabels[16].name == "right_ankle"


def test_fewer_names_than_keypoints_give_the_first_keypoints(random_keypoint_rcnn, context, photos):
    few = torchvision_keypoint_detection.create(
        model=random_keypoint_rcnn, keypoint_names=FIRST_FIVE, device="cpu"
    )
    every = torchvision_keypoint_detection.create(model=random_keypoint_rcnn, device="cpu")
    (label,) = few.spec.labels
    assert (label.id, label.name) == (1, "person")
    assert [sublabel.name for sublabel in label.sublabels] == FIRST_FIVE
    found = few.detect(context(0.0), photos[0])
    assert found
    for shape, whole in zip(found, every.detect(context(0.0), photos[0]), strict=True):
        assert len(whole.elements) == 17
        assert shape.elements == whole.elements[:5]


def test_more_names_than_keypoints_are_an_error(context, photos):
    function = torchvision_keypoint_detection.create(
        model=FixedModel(), keypoint_names=["a", "b", "c", "d"], device="cpu"
    )
    with pytest.raises(BadFunctionError, match="keypoint_names has 4 names, but the model finds 3"):
        function.detect(context(), photos[0])


@pytest.mark.parametrize(
    ("scores", "threshold", "expected"),
    [
        (None, 2.0, [False, True, False]),
        ([2.0, 9.0, 1.9], 2.0, [False, True, True]),
        ([2.0, 9.0, 1.9], 0.0, [False, True, False]),
        ([2.0, 9.0, 1.9], -math.inf, [False, True, False]),
    ],
)
@pytest.mark.parametrize("hidden", ["occluded", "outside"])
def test_invisible_keypoints_are_marked(context, photos, scores, threshold, expected, hidden):
    function = torchvision_keypoint_detection.create(
        model=FixedModel(scores),
        keypoint_names=["a", "b", "c"],
        keypoint_threshold=threshold,
        hidden=hidden,
        device="cpu",
    )
    (shape,) = function.detect(context(), photos[0])
    other = {"occluded": "outside", "outside": "occluded"}[hidden]
    assert [getattr(element, hidden) for element in shape.elements] == expected
    assert [getattr(element, other) for element in shape.elements] == [False] * 3
    assert [element.points for element in shape.elements] == [[1, 2], [3, 4], [5, 6]]


def test_skeleton_and_its_keypoints_have_the_score(context, photos):
    function = torchvision_keypoint_detection.create(
        model=FixedModel(), keypoint_names=["a", "b"], device="cpu"
    )
    (shape,) = function.detect(context(), photos[0])
    assert shape.score == 0.75
    assert [element.score for element in shape.elements] == [0.75, 0.75]
    assert function.detect(context(0.8), photos[0]) == []


def test_keypoints_are_in_pixels_of_the_image_when_transforms_resize_it(context, photos):
    function = torchvision_keypoint_detection.create(
        model=FixedModel(),
        keypoint_names=["a", "b"],
        transforms=lambda image: torch.zeros(3, image.height // 4, image.width // 2),
        device="cpu",
    )
    (shape,) = function.detect(context(), photos[0])
    assert [element.points for element in shape.elements] == [[2, 8], [6, 16]]


def test_label_map_names_the_skeletons(context, photos):
    function = torchvision_keypoint_detection.create(
        model=FixedModel(), label_map={1: "pedestrian"}, keypoint_names=["a"], device="cpu"
    )
    assert [label.name for label in function.spec.labels] == ["pedestrian"]


def test_model_by_name_without_keypoint_names_needs_them(register, detector_name):
    with pytest.raises(ValueError, match="weights of random_detector name no keypoints"):
        torchvision_keypoint_detection.create(detector_name, device="cpu")


def test_model_without_keypoints_is_named(random_detector, context, photos):
    function = torchvision_keypoint_detection.create(model=random_detector, device="cpu")
    with pytest.raises(BadFunctionError, match="returns no keypoints"):
        function.detect(context(), photos[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keypoint_names": []}, "must be a list of names"),
        ({"keypoint_names": "nose"}, "must be a list of names, not 'nose'"),
        ({"keypoint_names": ["a", "b", "a"]}, "a name twice: a, b, a"),
        ({"keypoint_names": ["a"], "hidden": "gone"}, "not 'gone'"),
    ],
)
def test_invalid_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        torchvision_keypoint_detection.create(model=FixedModel(), device="cpu", **options)


def test_version_depends_on_the_names_and_the_threshold():
    versions = {
        torchvision_keypoint_detection.create(model=FixedModel(), device="cpu", **options).version
        for options in (
            {"keypoint_names": ["a", "b"]},
            {"keypoint_names": ["b", "a"]},
            {"keypoint_names": ["a", "b"], "keypoint_threshold": 1.0},
            {"keypoint_names": ["a", "b"], "hidden": "outside"},
            {"keypoint_names": ["a", "b"]},
        )
    }
    assert len(versions) == 4
