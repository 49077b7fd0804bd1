"""Bounding boxes of shapes."""

import pytest

from prefect_cvat.geometry.bounding_box import area, bounding_box, box_around, common_box


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"type": "rectangle", "points": [10, 20, 30, 60]}, (10, 20, 30, 60)),
        ({"type": "rectangle", "points": [10, 20, 30, 60], "rotation": 90}, (0, 30, 40, 50)),
        ({"type": "ellipse", "points": [50, 50, 70, 40]}, (30, 40, 70, 60)),
        ({"type": "ellipse", "points": [50, 50, 70, 40], "rotation": 90}, (40, 30, 60, 70)),
        ({"type": "mask", "points": [0, 6, 5, 7, 6, 9]}, (5, 7, 7, 10)),
        ({"type": "polyline", "points": [5, 1, 0, 8, 3, 3]}, (0, 1, 5, 8)),
        (
            {"type": "skeleton", "elements": [
                {"points": [1, 2]}, {"points": [5, 6]}, {"points": [0, 0], "outside": True}
            ]},
            (1, 2, 5, 6),
        ),
        ({"type": "skeleton", "elements": [{"points": [1, 2], "outside": True}]}, (1, 2, 1, 2)),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_bounding_box_contains_the_shape(shape, expected):
    assert bounding_box(shape) == pytest.approx(expected)


def test_area_of_the_intersection_of_two_boxes():
    box = box_around(20, 20, 20, 20)
    assert box == (10, 10, 30, 30)
    assert area(common_box(box, (20, 0, 40, 15))) == 50
    assert area(common_box(box, (40, 40, 50, 50))) == 0
