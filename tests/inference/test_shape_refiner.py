"""ShapeRefiner: prompts of an interaction function, and its results."""

from types import SimpleNamespace

import cvat_sdk.auto_annotation as sdk
import cvat_sdk.models as sdk_models
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictures import picture
from prefect_cvat import models
from prefect_cvat.auto_annotation import BadFunctionError, InteractionFunctionSpec, InteractionResultShape
from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_refiner import ShapeRefiner
from prefect_cvat.masks import decode_mask, encode_mask, polygon_to_mask
from prefect_cvat.media.image_chunk import read_image

WIDTH, HEIGHT = 60, 40
FRAME = Frame(4, "d.png", WIDTH, HEIGHT)
IMAGE = PIL.Image.new("RGB", (WIDTH, HEIGHT))
OURS = SimpleNamespace(
    InteractionFunctionSpec=InteractionFunctionSpec, InteractionResultShape=InteractionResultShape
)


class Ellipses:
    """Fills the ellipse in the box, or a disc around the first point; written with one of the libraries."""

    def __init__(self, lib=OURS, value=models.AttributeValRequest, **spec):
        self.lib, self.value = lib, value
        self.spec = lib.InteractionFunctionSpec(**(spec or {"min_pos_points": 0, "min_bounding_boxes": 0}))
        self.prompts = []
        self.images = 0

    def preprocess_image(self, context, image):
        self.images += 1
        return image.size

    def detect(self, context, pp_image, prompts):
        self.prompts.append(prompts)
        assert len(prompts.neg_points) == 0
        width, height = pp_image
        if prompts.bounding_box is not None:
            (x1, y1), (x2, y2) = prompts.bounding_box
        else:
            [(x, y), *_] = prompts.pos_points
            x1, y1, x2, y2 = x - 4, y - 4, x + 4, y + 4
        rows, columns = np.mgrid[:height, :width] + 0.5
        bitmap = ((columns - (x1 + x2) / 2) * 2 / (x2 - x1)) ** 2 + (
            (rows - (y1 + y2) / 2) * 2 / (y2 - y1)
        ) ** 2 <= 1
        attributes = [self.value(spec_id=0, value="0.75")]
        return [
            self.lib.InteractionResultShape(type="mask", points=encode_mask(bitmap), attributes=attributes)
        ]


def box(points=(10, 10, 30, 20), **fields):
    return {
        "id": 17,
        "type": "rectangle",
        "frame": 4,
        "label_id": 3,
        "points": list(points),
        "rotation": 0.0,
        "group": 5,
        "z_order": 2,
        "occluded": True,
        "source": "manual",
        "score": 1.0,
        "attributes": [{"spec_id": 9, "value": "red"}],
        "elements": [],
        **fields,
    }


def a_point(points=(20, 20), **fields):
    return box(points, type="points", **fields)


@pytest.mark.parametrize(
    "function",
    [Ellipses(), Ellipses(sdk, sdk_models.AttributeValRequest, min_pos_points=0, min_bounding_boxes=1)],
    ids=["ours", "sdk"],
)
def test_rectangle_becomes_a_mask_with_the_same_attributes(function):
    [(original, [body])] = ShapeRefiner(function).refine(FRAME, IMAGE, [box()])
    assert original == box()
    assert decode_mask(body.pop("points"), image_width=WIDTH, image_height=HEIGHT)[15, 20]
    assert body == {
        "type": "mask",
        "frame": 4,
        "label_id": 3,
        "group": 5,
        "z_order": 2,
        "occluded": True,
        "outside": False,
        "rotation": 0.0,
        "source": "semi-auto",
        "score": 0.75,
        "attributes": [{"spec_id": 9, "value": "red"}],
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [("manual", "semi-auto"), ("semi-auto", "semi-auto"), ("file", "semi-auto"), ("auto", "auto")],
)
def test_source_of_refined_shapes_depends_on_the_source_of_the_original(source, expected):
    [(_, [body])] = ShapeRefiner(Ellipses()).refine(FRAME, IMAGE, [box(source=source)])
    assert body["source"] == expected


def test_score_of_the_original_is_kept_without_a_score_of_the_function():
    function = returning(result("rectangle", [1, 1, 5, 5]))
    [(_, [body])] = ShapeRefiner(function).refine(FRAME, IMAGE, [box(score=0.3)])
    assert body["score"] == 0.3


BOX = ((10, 10), (30, 20))


@pytest.mark.parametrize(
    ("spec", "shape", "pos_points", "bounding_box"),
    [
        ({"min_pos_points": 0, "min_bounding_boxes": 0}, box(), [], BOX),
        ({"min_pos_points": 1, "min_bounding_boxes": 1}, box(), [(20, 15)], BOX),
        ({"min_pos_points": 0}, box(), [(20, 15)], None),
        ({"min_pos_points": 1}, box(), [(20, 15)], None),
        ({"min_pos_points": 1, "min_neg_points": 0}, a_point([1, 2, 3, 4]), [(1, 2), (3, 4)], None),
        ({"min_pos_points": 0, "min_bounding_boxes": 0}, a_point([1, 2]), [(1, 2)], None),
        ({"min_pos_points": 1}, a_point([1, 2, 300, 4]), [(1, 2)], None),
        ({"min_pos_points": 0, "min_bounding_boxes": 1}, box([-9, 30, 20, 50]), [], ((0, 30), (20, 40))),
        ({"min_pos_points": 0, "min_bounding_boxes": 1}, box(rotation=90), [], ((15, 5), (25, 25))),
    ],
)
def test_prompts_suit_the_function_and_lie_inside(spec, shape, pos_points, bounding_box):
    function = Ellipses(**spec)
    ShapeRefiner(function).refine(FRAME, IMAGE, [shape])
    [prompts] = function.prompts
    assert list(prompts.pos_points) == pos_points
    assert (prompts.bounding_box is None) == (bounding_box is None)
    if bounding_box is not None:
        assert np.allclose(prompts.bounding_box, bounding_box)


@pytest.mark.parametrize("shape", [box([70, 0, 90, 9]), a_point([70, 0])])
def test_shapes_outside_the_image_are_not_refined(shape):
    function = Ellipses()
    assert ShapeRefiner(function).refine(FRAME, IMAGE, [shape]) == [(shape, [])]
    assert function.images == 0


@pytest.mark.parametrize(
    ("spec", "shapes", "message"),
    [
        (
            {"min_pos_points": 0, "min_bounding_boxes": 1},
            [box(), a_point()],
            "needs a bounding box, .*points give none",
        ),
        (
            {"min_pos_points": 2, "min_bounding_boxes": 1},
            [box()],
            "needs 2 positive points, and rectangle gives 1",
        ),
        ({"min_pos_points": 2}, [a_point()], "needs 2 positive points, and points of this number give 1"),
        ({"min_pos_points": 1, "min_neg_points": 1}, [box()], "needs 1 negative point, and shapes give none"),
        ({"min_pos_points": 1}, [box(type="ellipse")], "ellipse .only rectangle and points can be prompts"),
    ],
)
def test_shapes_unusable_as_prompts_are_refused_without_decoding(spec, shapes, message):
    function = Ellipses(**spec)
    with pytest.raises(BadFunctionError, match=f"'Ellipses' cannot be prompted by these shapes: .*{message}"):
        ShapeRefiner(function).check(shapes)
    with pytest.raises(BadFunctionError, match=message):
        ShapeRefiner(function).refine(FRAME, IMAGE, shapes)
    assert function.images == 0


def test_an_image_is_preprocessed_once():
    function = Ellipses()
    ShapeRefiner(function).refine(FRAME, IMAGE, [box(), box(), a_point()])
    assert (function.images, len(function.prompts)) == (1, 3)
    assert ShapeRefiner(function).refine(FRAME, IMAGE, []) == []
    assert function.images == 1


def result(type="mask", points=(0, 1, 0, 0, 0, 0), confidence=None):
    values = [] if confidence is None else [models.AttributeValRequest(spec_id=0, value=confidence)]
    return SimpleNamespace(type=type, points=points, attributes=values)


def returning(*outputs):
    def detect(context, pp_image, prompts):
        if isinstance(outputs[0], Exception):
            raise outputs[0]
        return outputs[0] if outputs[0] is None or isinstance(outputs[0], int | str) else list(outputs)

    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)
    return SimpleNamespace(spec=spec, detect=detect)


FULL = (0, 48, 10, 10, 17, 15)
HOLED = encode_mask(np.pad(np.pad(np.zeros((4, 4), dtype=bool), 5, constant_values=True), 3))


def test_masks_become_polygons_on_request():
    refiner = ShapeRefiner(returning(result("mask", FULL)), "polygon")
    [(_, [body])] = refiner.refine(FRAME, IMAGE, [box()])
    assert body["type"] == "polygon"
    mask = polygon_to_mask(body["points"], image_width=WIDTH, image_height=HEIGHT)
    overlap = mask & decode_mask(FULL, image_width=WIDTH, image_height=HEIGHT)
    assert overlap.sum() >= 44


def test_polygons_and_rectangles_become_masks_on_request():
    corners = [10, 10, 18, 10, 18, 16, 10, 16]
    function = returning(result("polygon", corners), result("rectangle", [10, 10, 18, 16]))
    [(_, bodies)] = ShapeRefiner(function, "mask").refine(FRAME, IMAGE, [box()])
    assert [(body["type"], tuple(body["points"])) for body in bodies] == [("mask", FULL)] * 2


def test_a_mask_of_two_parts_becomes_two_polygons():
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=bool)
    bitmap[2:8, 2:8] = bitmap[20:30, 20:30] = True
    refiner = ShapeRefiner(returning(result("mask", encode_mask(bitmap))), "polygon")
    [(_, bodies)] = refiner.refine(FRAME, IMAGE, [box()])
    assert len(bodies) == 2


@pytest.mark.parametrize("to", [None, "mask", "polygon"])
def test_results_are_clipped_at_the_edge(to):
    bitmap = np.ones((10, 10), dtype=bool)
    function = returning(result("mask", encode_mask(bitmap, offset=(WIDTH - 5, HEIGHT - 5))))
    [(_, [body])] = ShapeRefiner(function, to).refine(FRAME, IMAGE, [box()])
    if body["type"] == "mask":
        assert body["points"] == [0, 25, WIDTH - 5, HEIGHT - 5, WIDTH - 1, HEIGHT - 1]
    else:
        assert max(body["points"][0::2]) <= WIDTH
        assert max(body["points"][1::2]) <= HEIGHT


@pytest.mark.parametrize(
    "outputs",
    [[result("mask", [1, 0, 0, 0, 0])], [result("polygon", [70, 0, 80, 0, 80, 9])]],
    ids=["no pixel", "outside"],
)
@pytest.mark.parametrize("to", [None, "mask", "polygon"])
def test_an_empty_result_is_not_refined(outputs, to):
    [(_, found)] = ShapeRefiner(returning(*outputs), to).refine(FRAME, IMAGE, [box()])
    assert found == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "an object of type 'NoneType'"),
        (3, "an object of type 'int'"),
        ("mask", "an object of type 'str'"),
        ([3], "an object of type 'list'"),
        (result("mask", [0, 5, 0, 0, 1, 1]), "run lengths sum up to 5"),
        (result("mask", [0.5, 0.5, 0, 0, 0, 0]), "not integers"),
        (result("polygon", [1, 1, 2, 2]), "polygon with 4 numbers"),
        (result("polygon", [1, 1, 2, 2, 3, float("inf")]), "not finite"),
        (result("skeleton", []), "skeleton"),
        (result("circle"), "bad type"),
        (result("mask", FULL, "2"), "confidence of '2'"),
        (result("mask", FULL, "nan"), "confidence of 'nan'"),
        (result("mask", FULL, "high"), "confidence of 'high'"),
        (ZeroDivisionError("by zero"), "function failed: ZeroDivisionError: by zero"),
        (BadFunctionError("no weights"), "no weights"),
    ],
)
def test_contract_errors_name_frame_and_shape(output, message):
    with pytest.raises(BadFunctionError, match=rf"frame 4 \(d.png\): rectangle 17: .*{message}"):
        ShapeRefiner(returning(output)).refine(FRAME, IMAGE, [box()])


@pytest.mark.parametrize("to", ["mask", "polygon"])
def test_inconvertible_results_are_refused(to):
    refiner = ShapeRefiner(returning(result("polyline", [1, 1, 9, 9])), to)
    with pytest.raises(BadFunctionError, match=f"'polyline', which cannot be made a {to}"):
        refiner.refine(FRAME, IMAGE, [box()])


def test_broken_image_is_a_media_error():
    broken = read_image(picture(WIDTH, HEIGHT)[:-200], FRAME)
    function = returning(result())
    function.preprocess_image = lambda context, image: np.asarray(image)
    with pytest.raises(MediaError, match="is broken"):
        ShapeRefiner(function).refine(FRAME, broken, [box()])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (SimpleNamespace(), "its spec is 'NoneType'"),
        (SimpleNamespace(spec=sdk.DetectionFunctionSpec(labels=[])), "'DetectionFunctionSpec'"),
        (SimpleNamespace(spec=InteractionFunctionSpec(min_pos_points=1)), "it has no 'detect'"),
    ],
)
def test_other_functions_than_interaction_functions_are_refused(function, message):
    with pytest.raises(BadFunctionError, match=message):
        ShapeRefiner(function)


def test_result_type_is_checked():
    with pytest.raises(ValueError, match="to must be"):
        ShapeRefiner(Ellipses(), "ellipse")
    with pytest.raises(ValueError, match="tolerance"):
        ShapeRefiner(Ellipses(), tolerance=-1)


@given(
    st.lists(st.floats(-200, 200, allow_nan=False), min_size=6, max_size=20).filter(lambda p: len(p) % 2 == 0)
)
def test_masks_of_any_polygon_can_be_decoded(points):
    function = returning(result("polygon", points))
    [(_, bodies)] = ShapeRefiner(function, "mask").refine(FRAME, IMAGE, [box()])
    for body in bodies:
        assert decode_mask(body["points"], image_width=WIDTH, image_height=HEIGHT).any()
