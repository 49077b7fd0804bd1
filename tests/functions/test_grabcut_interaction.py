"""GrabCut on objects of real photographs, by boxes and by points."""

import contextlib
import io

import numpy as np
import PIL.Image
import pytest
import skimage.data

from prefect_cvat.auto_annotation.functions import grabcut_interaction
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_refiner import InteractionContext, Prompts, ShapeRefiner
from prefect_cvat.masks import decode_mask

pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")


class MorePrompts(Prompts):
    """With points off the object, which no shape provides."""

    def __init__(self, pos_points=(), neg_points=(), bounding_box=None):
        super().__init__(pos_points, bounding_box)
        self.negative = tuple(neg_points)

    @property
    def neg_points(self):
        return self.negative


def detect(image, function=None, **prompts):
    function = function or grabcut_interaction.create()
    context = InteractionContext()
    shapes = function.detect(context, function.preprocess_image(context, image), MorePrompts(**prompts))
    masks = [
        decode_mask(shape.points, image_width=image.width, image_height=image.height) for shape in shapes
    ]
    return masks[0] if masks else None


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture(scope="module")
def disc():
    """A red disc before grass, and which pixels it has."""
    grass = np.stack([skimage.data.grass()[:240, :320]] * 3, axis=-1) // 2
    y, x = np.mgrid[:240, :320] + 0.5
    mask = (x - 150) ** 2 + (y - 110) ** 2 <= 40**2
    grass[mask] = grass[mask] // 4 + (150, 20, 20)
    return PIL.Image.fromarray(grass.astype(np.uint8)), mask


BOX = ((108, 68), (192, 152))


def test_an_object_in_a_box_is_found(disc):
    image, mask = disc
    assert iou(detect(image, bounding_box=BOX), mask) > 0.95


def test_an_object_at_a_point_is_found(disc):
    image, mask = disc
    found = iou(detect(image, pos_points=[(150, 110)]), mask)
    assert found > 0.9


def test_a_large_object_is_found_as_well(disc):
    image, mask = (each.resize((1280, 960)) for each in (disc[0], PIL.Image.fromarray(disc[1])))
    box = tuple((4 * x, 4 * y) for x, y in BOX)
    found = iou(detect(image, bounding_box=box), np.asarray(mask))
    assert found > 0.88


def test_points_outside_the_object_are_left_out(disc):
    image, _ = disc
    mask = detect(image, bounding_box=BOX, neg_points=[(150, 110)])
    assert not mask[110, 150]


def test_mask_stays_within_the_box(disc):
    mask = detect(disc[0], bounding_box=((120, 90), (160, 130)))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) >= (90, 90)
    assert rows.max() < 130
    assert columns.min() >= 120
    assert columns.max() < 160


def test_the_same_image_gives_the_same_mask(disc):
    assert (detect(disc[0], bounding_box=BOX) == detect(disc[0], bounding_box=BOX)).all()


def test_holes_are_filled(disc):
    pixels = np.array(disc[0])
    pixels[105:111, 145:151] = (20, 30, 20)
    mask = detect(PIL.Image.fromarray(pixels), bounding_box=BOX)
    assert mask[105:111, 145:151].all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK"])
def test_images_of_any_mode_are_accepted(disc, mode):
    image = disc[0].convert("L") if mode == "I;16" else disc[0].convert(mode)
    if mode == "I;16":
        image = PIL.Image.fromarray(np.asarray(image, dtype=np.uint16) * 16)
    assert detect(image, bounding_box=BOX) is not None


@pytest.mark.parametrize(
    "prompts",
    [
        {"bounding_box": ((0, 0), (320, 240))},
        {"bounding_box": ((10.2, 10.2), (10.4, 10.4))},
        {"bounding_box": ((319.5, 239.5), (320, 240))},
        {"bounding_box": ((-50, -50), (10, 10))},
        {"pos_points": [(0, 0), (320, 240)]},
        {"pos_points": [(320, 240)]},
        {"pos_points": [(5, 5)], "neg_points": [(5, 5)]},
        {"pos_points": [(5, 5)], "bounding_box": ((100, 100), (120, 120))},
    ],
)
def test_unusual_prompts_are_handled(disc, prompts):
    detect(disc[0], **prompts)


@pytest.mark.parametrize(
    "prompts", [{}, {"bounding_box": ((400, 0), (500, 50))}, {"pos_points": [(900, 900)]}]
)
def test_prompts_outside_the_image_find_nothing(disc, prompts):
    assert detect(disc[0], **prompts) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 1)])
def test_tiny_images_are_handled(size):
    detect(PIL.Image.new("RGB", size), bounding_box=((0, 0), size))


def test_image_of_one_colour_returns_the_initial_guess():
    assert detect(PIL.Image.new("RGB", (100, 100)), bounding_box=((20, 20), (80, 80))).sum() > 1000


def test_masks_are_better_than_boxes_on_photographs(test_data):
    coco_module = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO(str(test_data / "coco-photos" / "instances.json"))
    refiner = ShapeRefiner(load_function("grabcut_interaction"), "mask")
    by_box, by_function = [], []
    for number, record in list(coco.imgs.items()):
        with PIL.Image.open(test_data / "coco-photos" / "images" / record["file_name"]) as image:
            image.load()
        objects = [
            each
            for each in coco.dataset["annotations"]
            if each["image_id"] == number and not each["iscrowd"] and each["area"] > 72 * 72
        ]
        for each in objects[:2]:
            x, y, width, height = each["bbox"]
            shape = {"type": "rectangle", "frame": 0, "label_id": 1, "points": [x, y, x + width, y + height]}
            [(_, bodies)] = refiner.refine(Frame(0, record["file_name"], *image.size), image, [shape])
            truth = coco.annToMask(each).astype(bool)
            [body] = bodies
            assert body["type"] == "mask"
            found = decode_mask(body["points"], image_width=image.width, image_height=image.height)
            box = np.zeros_like(truth)
            box[round(y) : round(y + height), round(x) : round(x + width)] = True
            by_box.append(iou(box, truth))
            by_function.append(iou(found, truth))
    assert len(by_box) >= 12
    assert np.mean(by_function) > np.mean(by_box) + 0.1


@pytest.mark.parametrize("parameters", [{"margin": 0}, {"reach": 2}, {"iterations": 0}])
def test_numbers_out_of_range_are_refused(parameters):
    with pytest.raises(FunctionLoadError, match="must be"):
        load_function("grabcut_interaction", parameters)


def test_missing_opencv_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[video\]"'):
        load_function("grabcut_interaction")
