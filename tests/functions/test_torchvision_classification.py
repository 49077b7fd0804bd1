import pytest
import torch
from cvat_sdk.auto_annotation.functions import torchvision_classification as sdk_torchvision_classification
from torch import nn

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions import torchvision_classification

LABEL_MAP = {0: "cat", 1: "dog", 2: "bird"}


class FixedModel(nn.Module):
    """Returns the same probabilities for every image, and records its input."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = torch.tensor(probabilities).log()
        self.calls = []

    def forward(self, batch):
        self.calls.append(tuple(batch.shape))
        return self.logits.expand(len(batch), -1)


def tags(function, annotations):
    names = {label.id: label.name for label in function.spec.labels}
    return [names[annotation.label_id] for annotation in annotations]


def test_detections_equal_those_of_the_sdk(classifier_name, context, photos):
    ours = torchvision_classification.create(classifier_name, device="cpu")
    theirs = sdk_torchvision_classification.create(classifier_name)
    for threshold in (None, 0.0, 0.99):
        for image in photos:
            found = [tag.label_id for tag in ours.detect(context(threshold), image)]
            assert found == [tag.label_id for tag in theirs.detect(context(threshold), image)]
    assert ours.detect(context(), photos[0])


def test_labels_are_tags_and_classes_with_equal_names_are_one_label(classifier_name):
    function = torchvision_classification.create(classifier_name, device="cpu")
    assert [(label.id, label.name, label.type) for label in function.spec.labels] == [
        (0, "cat", "tag"),
        (1, "dog", "tag"),
        (2, "bird", "tag"),
        (3, "crane", "tag"),
        (5, "fish", "tag"),
    ]


def test_model_object_gets_images_normalized_as_for_imagenet(
    random_classifier, classifier_name, context, photos
):
    by_name = torchvision_classification.create(classifier_name, device="cpu", top_k=6)
    label_map = {0: "cat", 1: "dog", 2: "bird", 3: "crane", 4: "crane", 5: "fish"}
    by_object = torchvision_classification.create(
        model=random_classifier, label_map=label_map, device="cpu", top_k=6
    )
    for image in photos:
        assert by_object.detect(context(), image) == by_name.detect(context(), image)
    assert len(by_object.detect(context(), photos[0])) == 5


@pytest.mark.parametrize(
    ("top_k", "of_function", "of_run", "expected"),
    [
        (1, 0.0, None, ["dog"]),
        (2, 0.0, None, ["dog", "cat"]),
        (3, 0.0, None, ["dog", "cat", "bird"]),
        (9, 0.0, None, ["dog", "cat", "bird"]),
        (3, 0.25, None, ["dog", "cat"]),
        (3, 0.25, 0.0, ["dog", "cat", "bird"]),
        (3, 0.0, 0.45, ["dog"]),
        (1, 0.0, 0.55, []),
    ],
)
def test_the_best_classes_above_the_threshold_are_tags(context, photos, top_k, of_function, of_run, expected):
    function = torchvision_classification.create(
        model=FixedModel([0.3, 0.5, 0.2]),
        label_map=LABEL_MAP,
        top_k=top_k,
        score_threshold=of_function,
        device="cpu",
    )
    assert tags(function, function.detect(context(of_run), photos[0])) == expected


def test_best_class_that_is_not_in_the_map_gives_no_tag(context, photos):
    model = FixedModel([0.2, 0.1, 0.1, 0.6])
    function = torchvision_classification.create(model=model, label_map=LABEL_MAP, device="cpu")
    assert function.detect(context(), photos[0]) == []
    function = torchvision_classification.create(model=model, label_map=LABEL_MAP, top_k=2, device="cpu")
    assert tags(function, function.detect(context(), photos[0])) == ["cat"]


def test_one_tag_for_classes_with_equal_names(context, photos):
    function = torchvision_classification.create(
        model=FixedModel([0.3, 0.5, 0.2]), label_map={0: "a", 1: "a", 2: "b"}, top_k=3, device="cpu"
    )
    assert tags(function, function.detect(context(), photos[0])) == ["a", "b"]


def test_only_images_of_equal_size_form_a_batch(context, photos):
    def uncropped(image):
        return torch.zeros(3, image.height, image.width)

    model = FixedModel([0.3, 0.5, 0.2])
    function = torchvision_classification.create(model=model, label_map=LABEL_MAP, device="cpu", batch_size=3)
    function.detect_batch([context()] * 3, photos)
    assert model.calls == [(3, 3, 224, 224)]
    model.calls.clear()
    function = torchvision_classification.create(
        model=model, label_map=LABEL_MAP, transforms=uncropped, device="cpu", batch_size=3
    )
    found = function.detect_batch([context(), context(1.0), context()], photos)
    assert model.calls == [(1, 3, 512, 512), (1, 3, 400, 600), (1, 3, 300, 451)]
    assert [tags(function, each) for each in found] == [["dog"], [], ["dog"]]


@pytest.mark.parametrize(
    ("returned", "message"), [({"out": 1}, "not dict"), (torch.zeros(1, 3, 4, 4), r"not \(1, 3, 4, 4\)")]
)
def test_model_that_returns_something_else_is_named(context, photos, returned, message):
    class Other(nn.Module):
        def forward(self, batch):
            return returned

    function = torchvision_classification.create(model=Other(), label_map=LABEL_MAP, device="cpu")
    with pytest.raises(BadFunctionError, match=message):
        function.detect(context(), photos[0])


def test_top_k_of_zero_is_refused():
    with pytest.raises(ValueError, match="top_k must be 1 or more, not 0"):
        torchvision_classification.create(model=nn.Identity(), label_map=LABEL_MAP, top_k=0)
