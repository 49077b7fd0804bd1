import pytest

from prefect_cvat.cvat.response_checks.annotation_checks import annotation_error

TAG = {"id": 1, "label_id": 2, "frame": 3}
SHAPE = {**TAG, "type": "rectangle", "points": [1, 2.5, 3, 4], "elements": []}
KEYPOINT = {"label_id": 5, "frame": 3, "type": "points", "points": [1, 2]}
SKELETON = {**SHAPE, "type": "skeleton", "points": [], "elements": [KEYPOINT]}
KEYFRAME = {"id": 9, "frame": 3, "type": "rectangle", "points": [1, 2, 3, 4], "outside": False}
TRACK = {**TAG, "shapes": [KEYFRAME], "elements": []}


@pytest.mark.parametrize(
    ("kind", "annotation"),
    [
        ("tags", TAG),
        ("shapes", SHAPE),
        ("shapes", {**SHAPE, "type": "mask", "points": [0, 4, 1, 1, 2, 2]}),
        ("shapes", SKELETON),
        ("shapes", {**SKELETON, "points": None}),
        ("shapes", {**SHAPE, "a field": "that we do not know"}),
        ("tracks", TRACK),
        ("tracks", {**TRACK, "elements": [{"label_id": 5, "frame": 3, "shapes": [KEYFRAME]}]}),
    ],
)
def test_accepts_annotations_of_cvat(kind, annotation):
    assert annotation_error(kind, annotation) is None


@pytest.mark.parametrize(
    ("kind", "annotation", "problem"),
    [
        ("tags", 3, "tags.item: "),
        ("tags", {**TAG, "label_id": "2"}, "tags.label_id: "),
        ("shapes", {**SHAPE, "frame": -1}, "shapes.frame: "),
        ("shapes", {**SHAPE, "type": None}, "shapes.type: "),
        ("shapes", {**SHAPE, "points": ["1", 2, 3, 4]}, "shapes.points.0: "),
        ("shapes", {**SHAPE, "points": None}, "shapes.points: a rectangle has 4 numbers, not 0"),
        ("shapes", {**SHAPE, "points": [1]}, "shapes.points: a rectangle has 4 numbers, not 1"),
        ("shapes", {**SHAPE, "type": "polygon"}, "a polygon has at least 6 numbers, not 4"),
        ("shapes", {**SKELETON, "elements": [{**KEYPOINT, "points": []}]}, "a points has at least 2 numbers"),
        ("shapes", {**SKELETON, "elements": {}}, "shapes.elements: "),
        ("tracks", {**TRACK, "shapes": [{**KEYFRAME, "frame": "3"}]}, "tracks.shapes.0.frame: "),
        ("tracks", {**TRACK, "shapes": [{**KEYFRAME, "points": [1, 2]}]}, "a rectangle has 4 numbers, not 2"),
    ],
)
def test_names_the_invalid_field(kind, annotation, problem):
    assert problem in annotation_error(kind, annotation)


PLAIN = {**SHAPE, "group": 0, "z_order": 0, "rotation": 0.0, "score": 1.0, "source": "auto", "attributes": []}


@pytest.mark.parametrize(
    "change",
    [
        {"id": 2**70},
        {"label_id": True},
        {"label_id": -1},
        {"frame": 10**9},
        {"frame": 1.0},
        {"group": "a"},
        {"z_order": None, "points": [1, 2, 3]},
        {"rotation": float("nan")},
        {"score": "high"},
        {"source": 7},
        {"points": [1, 2, 3, float("inf")]},
        {"points": "abcd"},
        {"points": [[1], [2], [3], [4]]},
        {"attributes": [{"spec_id": "a", "value": "b"}]},
        {"elements": [{"label_id": "a"}]},
    ],
)
def test_checks_plain_rectangles_as_strictly_as_other_shapes(change):
    assert annotation_error("shapes", PLAIN) is None
    assert annotation_error("shapes", {**PLAIN, **change}) is not None
