import json
import subprocess
import sys

import numpy as np
import pytest
import skimage.draw
import torch
from cvat_sdk.auto_annotation.functions import (
    torchvision_instance_segmentation as sdk_torchvision_instance_segmentation,
)
from torch import nn
from torchvision.models.detection.roi_heads import paste_masks_in_image

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions import torchvision_instance_segmentation
from prefect_cvat.masks import decode_mask

LABEL_MAP = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle"}


class FixedModel(nn.Module):
    """Finds on every image the masks it was given, each in the box of its pixels or in another one."""

    def __init__(self, masks, boxes=None, scores=None):
        super().__init__()
        self.masks = torch.as_tensor(np.stack(masks), dtype=torch.float32)[:, None]
        if boxes is None:
            boxes = []
            for mask in self.masks[:, 0]:
                rows, columns = torch.nonzero(mask >= 0.5, as_tuple=True)
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        self.boxes = torch.tensor(boxes, dtype=torch.float32)
        self.scores = torch.tensor([0.9] * len(masks) if scores is None else scores)

    def forward(self, images):
        labels = torch.ones(len(self.masks), dtype=torch.int64)
        return [
            {"boxes": self.boxes, "labels": labels, "scores": self.scores, "masks": self.masks}
            for _ in images
        ]


def disk(image, x, y, radius):
    rows, columns = np.mgrid[: image.height, : image.width]
    return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2


def decoded(shape, image):
    return decode_mask(shape.points, image_width=image.width, image_height=image.height)


def painted(shape, image):
    x, y = np.reshape(shape.points, (-1, 2)).T
    return skimage.draw.polygon2mask((image.height, image.width), np.stack([y, x], axis=1) - 0.5)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture(scope="module")
def theirs_and_ours(mask_rcnn_name, random_mask_rcnn):
    return (
        sdk_torchvision_instance_segmentation.create(mask_rcnn_name),
        torchvision_instance_segmentation.create(model=random_mask_rcnn, label_map=LABEL_MAP, device="cpu"),
    )


def test_finds_the_masks_that_the_sdk_finds(theirs_and_ours, context, photos):
    theirs, ours = theirs_and_ours
    found = ours.detect(context(0.0), photos[0])
    # The SDK makes a shape also of a mask without a pixel.
    expected = [shape for shape in theirs.detect(context(0.0), photos[0]) if decoded(shape, photos[0]).any()]
    assert len(found) > 10
    assert len({shape.label_id for shape in found}) > 1
    assert [shape.label_id for shape in found] == [shape.label_id for shape in expected]
    for shape, same in zip(found, expected, strict=True):
        assert (decoded(shape, photos[0]) == decoded(same, photos[0])).all()
        assert len(shape.points) <= len(same.points)


def test_model_by_name_has_the_labels_of_its_weights(mask_rcnn_name):
    function = torchvision_instance_segmentation.create(mask_rcnn_name, device="cpu")
    labels = [(label.id, label.name, label.type) for label in function.spec.labels]
    assert labels == [(number, name, "mask") for number, name in LABEL_MAP.items()]


def test_pasted_masks_equal_those_of_torchvision():
    generator = torch.Generator().manual_seed(0)
    small = torch.rand((40, 1, 28, 28), generator=generator)
    corners = torch.rand((40, 2, 2), generator=generator) * torch.tensor([140.0, 100.0]) - 10
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    boxes = boxes.clamp(torch.zeros(4), torch.tensor([120.0, 80.0] * 2))
    image = paste_masks_in_image(small, boxes, (80, 120))[:, 0]
    for index, box in enumerate(boxes):
        pasted, (x, y) = torchvision_instance_segmentation._pasted(small[index, 0], box, (120, 80))
        height, width = pasted.shape
        assert torch.equal(pasted, image[index, y : y + height, x : x + width])
        x1, y1, x2, y2 = box.tolist()
        assert x1 - 1 < x <= x1 + 1
        assert y1 - 1 < y <= y1 + 1
        assert x + width >= min(x2 - 1, 120)
        assert y + height >= min(y2 - 1, 80)


def test_mask_of_a_custom_model(context, photos):
    mask = disk(photos[0], 100, 200, 50)
    function = torchvision_instance_segmentation.create(
        model=FixedModel([mask]), label_map={1: "ball"}, device="cpu"
    )
    (shape,) = function.detect(context(), photos[0])
    assert (decoded(shape, photos[0]) == mask).all()
    assert shape.points[-4:] == [50, 150, 149, 249]
    assert shape.type == "mask"
    assert shape.score == pytest.approx(0.9)


def test_mask_ends_where_its_box_ends(context, photos):
    mask = disk(photos[0], 100, 200, 50)
    function = torchvision_instance_segmentation.create(
        model=FixedModel([mask], boxes=[[60.5, 0.0, 512.0, 200.5]]), label_map={1: "ball"}, device="cpu"
    )
    (shape,) = function.detect(context(), photos[0])
    expected = mask.copy()
    expected[:, :60] = False
    expected[201:] = False
    assert (decoded(shape, photos[0]) == expected).all()


def test_polygons_are_returned_if_the_run_requests_them(context, photos):
    ball = disk(photos[0], 100, 200, 50)
    ring = disk(photos[0], 400, 100, 60) & ~disk(photos[0], 400, 100, 30)
    two_parts = disk(photos[0], 300, 400, 20) | disk(photos[0], 450, 512, 40)
    function = torchvision_instance_segmentation.create(
        model=FixedModel([ball, ring, two_parts], scores=[0.9, 0.8, 0.7]), label_map={1: "x"}, device="cpu"
    )
    found = function.detect(context(conv_mask_to_poly=True), photos[0])
    assert [(shape.type, round(shape.score, 3)) for shape in found] == [
        ("polygon", 0.9),
        ("polygon", 0.8),
        ("polygon", 0.7),
        ("polygon", 0.7),
    ]
    assert overlap(painted(found[0], photos[0]), ball) > 0.97
    assert overlap(painted(found[1], photos[0]), disk(photos[0], 400, 100, 60)) > 0.97
    parts = painted(found[2], photos[0]) | painted(found[3], photos[0])
    assert overlap(parts, two_parts) > 0.97
    assert max(found[2].points + found[3].points) <= 512


def test_tolerance_trades_points_for_accuracy(context, photos):
    ball = disk(photos[0], 200, 200, 100)
    sizes, overlaps = [], []
    for tolerance in (0, 0.5, 2, 10):
        function = torchvision_instance_segmentation.create(
            model=FixedModel([ball]), label_map={1: "x"}, tolerance=tolerance, device="cpu"
        )
        (shape,) = function.detect(context(conv_mask_to_poly=True), photos[0])
        sizes.append(len(shape.points))
        overlaps.append(overlap(painted(shape, photos[0]), ball))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert overlaps == sorted(overlaps, reverse=True)
    assert overlaps[0] > 0.999


def test_random_masks_become_valid_polygons(theirs_and_ours, context, photos):
    _, ours = theirs_and_ours
    found = ours.detect(context(0.0, conv_mask_to_poly=True), photos[1])
    assert found
    for shape in found:
        assert shape.type == "polygon"
        assert len(shape.points) >= 6
        points = np.reshape(shape.points, (-1, 2))
        assert (points >= 0).all()
        assert (points <= photos[1].size).all()
        assert len(np.unique(points, axis=0)) >= 3


@pytest.mark.parametrize("conv_mask_to_poly", [False, True])
def test_object_without_a_pixel_is_left_out(context, photos, conv_mask_to_poly):
    empty = np.full((512, 512), 0.4)
    model = FixedModel([empty, empty], boxes=[[10.0, 10.0, 50.0, 50.0], [7.0, 7.0, 7.0, 9.0]])
    function = torchvision_instance_segmentation.create(model=model, label_map={1: "x"}, device="cpu")
    assert function.detect(context(conv_mask_to_poly=conv_mask_to_poly), photos[0]) == []


def test_masks_are_of_the_size_of_the_image_when_transforms_resize_it(
    theirs_and_ours, random_mask_rcnn, context, photos
):
    def halved(image):
        tensor = torch.from_numpy(np.array(image.resize((image.width // 2, image.height // 2))))
        return tensor.permute(2, 0, 1) / 255

    whole = disk(photos[0], 200, 300, 100)
    small = whole[::2, ::2]
    for model in (FixedModel([small]), random_mask_rcnn):
        function = torchvision_instance_segmentation.create(
            model=model, transforms=halved, label_map=LABEL_MAP, device="cpu"
        )
        found = function.detect(context(0.0), photos[0])
        assert max(shape.points[-1] for shape in found) > 256
        if isinstance(model, FixedModel):
            assert overlap(decoded(found[0], photos[0]), whole) > 0.95


def test_model_without_masks_is_named(random_detector, context, photos):
    function = torchvision_instance_segmentation.create(
        model=random_detector, label_map=LABEL_MAP, device="cpu"
    )
    with pytest.raises(BadFunctionError, match="returns no masks; it returns boxes, labels, scores"):
        function.detect(context(), photos[0])


def test_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance must be 0 or more, not -1"):
        torchvision_instance_segmentation.create(model=nn.Identity(), label_map={1: "x"}, tolerance=-1)


def test_version_depends_on_tolerance():
    one, same, other = (
        torchvision_instance_segmentation.create(
            model=nn.Identity(), label_map={1: "x"}, tolerance=tolerance, device="cpu"
        ).version
        for tolerance in (1.0, 1.0, 2.0)
    )
    assert one == same != other


MEASURE = """
import json, resource, sys
import PIL.Image
sys.path[:0] = sys.argv[1:]
from conftest import Context
from prefect_cvat.auto_annotation.functions import torchvision_instance_segmentation
from random_models import build_mask_rcnn

model = build_mask_rcnn(box_detections_per_img=40)
label_map = {number: str(number) for number in range(5)}
function = torchvision_instance_segmentation.create(model=model, label_map=label_map, device="cpu")
function.detect(Context(0.0), PIL.Image.linear_gradient("L").resize((384, 216)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = function.detect(Context(0.0), PIL.Image.linear_gradient("L").resize((3840, 2160)))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([len(found), (after - before) / 1024]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_many_masks_on_a_4k_image_take_little_memory(request):
    folders = map(str, request.path.parents[:2])
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, *folders], capture_output=True, text=True, check=True
    ).stdout
    count, megabytes = json.loads(output.splitlines()[-1])
    # The image as floats takes 95 MiB; all masks at the size of the image would take 32 MiB each.
    assert count > 30
    assert megabytes < 400
