"""Interaction functions as interactors of CVAT's pages."""

import pytest

from gateway_functions import Interaction
from prefect_cvat.auto_annotation import InteractionResultShape
from prefect_cvat.gateway import GatewayConfiguration
from prefect_cvat.masks import decode_mask


def test_record_is_of_version_2(serve):
    annotations = serve(sam=Interaction()).function("sam").json()["metadata"]["annotations"]
    assert annotations["version"] == "2"
    assert annotations["min_pos_points"] == "0"
    assert annotations["min_neg_points"] == "0"
    assert annotations["startswith_box_optional"] == "true"
    assert "startswith_box" not in annotations


def test_record_leaves_out_what_the_function_does_not_take(serve):
    function = Interaction(min_pos_points=1, min_neg_points=None, min_bounding_boxes=None)
    annotations = serve(sam=function).function("sam").json()["metadata"]["annotations"]
    assert not {"min_neg_points", "startswith_box", "startswith_box_optional"} & set(annotations)


def test_needed_box_is_in_the_record(serve):
    annotations = (
        serve(sam=Interaction(min_bounding_boxes=1)).function("sam").json()["metadata"]["annotations"]
    )
    assert annotations["startswith_box"] == "true"


def test_points_give_a_mask_with_its_confidence(serve):
    function = Interaction()
    answer = serve(sam=function).from_page("sam", pos_points=[[10.5, 12]], neg_points=[[1, 1]], obj_bbox=[])
    (shape,) = answer["shapes"]
    assert shape["type"] == "mask"
    assert all(type(number) is int for number in shape["points"])
    assert decode_mask(shape["points"], image_width=64, image_height=48).sum() == 25
    assert shape["attributes"] == [{"spec_id": 0, "value": "0.87"}]
    (prompts,) = function.prompts
    assert prompts.pos_points == ((10.5, 12.0),)
    assert prompts.neg_points == ((1.0, 1.0),)
    assert prompts.bounding_box is None


@pytest.mark.parametrize("box", [[[1, 2], [20, 22]], [[20, 22], [1, 2]], [[1, 22], [20, 2]]])
def test_box_in_any_order_of_corners(serve, box):
    function = Interaction()
    serve(sam=function).from_page("sam", pos_points=[], neg_points=[], obj_bbox=box)
    assert function.prompts[0].bounding_box == ((1, 2), (20, 22))


@pytest.mark.parametrize("box", [None, []])
def test_nothing_found_is_an_empty_answer(serve, box):
    calls = serve(sam=Interaction(result=[]))
    assert calls.from_page("sam", pos_points=[[1, 1]], neg_points=[], obj_bbox=box) == {"shapes": []}


def test_polygon_becomes_a_mask_and_what_cannot_is_counted(serve, caplog):
    caplog.set_level("INFO", "prefect_cvat.gateway")
    results = [
        InteractionResultShape(type="polygon", points=[10, 10, 20, 10, 20, 20, 10, 20]),
        InteractionResultShape(type="points", points=[10, 10]),
    ]
    answer = serve(sam=Interaction(result=results)).from_page("sam", pos_points=[[1, 1]])
    assert answer == {"shapes": [{"type": "mask", "points": [0, 100, 10, 10, 19, 19]}]}
    assert "1 of type points, which cannot be a mask" in caplog.text


def test_second_click_prepares_nothing(serve):
    function = Interaction()
    calls = serve(sam=function)
    for x in range(5, 9):
        calls.from_page("sam", pos_points=[[x, 5]])
    assert function.prepared == 1
    assert len(function.prompts) == 4


def test_without_memory_each_click_prepares_the_image(serve):
    function = Interaction()
    calls = serve(GatewayConfiguration(port=0, image_cache_bytes=0), sam=function)
    for x in (5, 6):
        calls.from_page("sam", pos_points=[[x, 5]])
    assert function.prepared == 2


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        ({"pos_points": [[1, 2], [3]]}, "pos_points must be a list of points"),
        ({"pos_points": [[1, None]]}, "pos_points must be a list of points"),
        ({"pos_points": [[1, True]]}, "pos_points must be a list of points"),
        ({"pos_points": "all"}, "pos_points must be a list of points"),
        ({"obj_bbox": [[1, 2], [3, 4], [5, 6], [7, 8]]}, "takes one box"),
        ({"pos_points": [[1, 2]], "text_prompts": ["a cat"]}, "no text prompts"),
    ],
)
def test_invalid_prompts_are_refused(serve, prompts, reason):
    status, said = serve(sam=Interaction()).refused("sam", **prompts)
    assert status == 400
    assert reason in said


def test_prompts_that_the_function_does_not_take_are_refused(serve):
    calls = serve(
        points=Interaction(min_pos_points=2, min_neg_points=None, min_bounding_boxes=None),
        box=Interaction(min_bounding_boxes=1),
    )
    assert "needs 2 or more points" in calls.refused("points", pos_points=[[1, 1]])[1]
    assert "takes no box" in calls.refused("points", obj_bbox=[[1, 1], [2, 2]])[1]
    assert "no negative points" in calls.refused("points", pos_points=[[1, 1]] * 2, neg_points=[[1, 1]])[1]
    assert "needs a box" in calls.refused("box", pos_points=[[1, 1]])[1]


def test_result_outside_its_image_is_refused(serve):
    result = [InteractionResultShape(type="mask", points=[0, 5, 0, 0, 9, 9])]  # does not fill its box
    status, reason = serve(sam=Interaction(result=result)).refused("sam", pos_points=[[1, 1]])
    assert status == 500
    assert "mask" in reason
