import pytest

from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.stored_annotations import check_stored

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
def test_annotations_of_cvat_pass(kind, annotation):
    check_stored(kind, annotation, "annotations of job 7")


@pytest.mark.parametrize(
    ("kind", "annotation", "problem"),
    [
        ("tags", 3, "a tag is not an object"),
        ("tags", {"label_id": 2, "frame": 3}, "a tag is without an id"),
        ("tags", {**TAG, "id": True}, "a tag is without an id"),
        ("tags", {**TAG, "label_id": "2"}, "tag 1 has no label_id"),
        ("shapes", {**SHAPE, "frame": -1}, "shape 1 has no frame"),
        ("shapes", {**SHAPE, "frame": None}, "shape 1 has no frame"),
        ("shapes", {**SHAPE, "type": None}, "shape 1 has no type"),
        ("shapes", {**SHAPE, "points": None}, "shape 1 has points that are not a list of numbers"),
        ("shapes", {**SHAPE, "points": ["1", 2, 3, 4]}, "shape 1 has points that are not a list of numbers"),
        ("shapes", {**SHAPE, "points": [1]}, "shape 1 is a rectangle of 1 number where 4 were expected"),
        ("shapes", {**SHAPE, "type": "polygon"}, "polygon of 4 numbers where at least 6 were expected"),
        ("shapes", {**SKELETON, "elements": {}}, "shape 1 has elements that are not a list"),
        ("shapes", {**SKELETON, "elements": [[]]}, "shape 1 has elements that are not objects"),
        ("shapes", {**SKELETON, "elements": [{**KEYPOINT, "label_id": None}]}, "element without a label_id"),
        ("tracks", {**TRACK, "shapes": 3}, "track 1 has shapes that are not a list"),
        ("tracks", {**TRACK, "shapes": [{**KEYFRAME, "frame": "3"}]}, "track 1 has a shape without a frame"),
    ],
)
def test_what_is_none_is_named(kind, annotation, problem):
    with pytest.raises(InvalidResponseError, match="annotations of job 7: .*" + problem):
        check_stored(kind, annotation, "annotations of job 7")
