"""The JSON of requests, and how many annotations go into one."""

import json

import pytest

from prefect_cvat.annotations.request_bodies import request_body, request_length, serialize

TAG = {"frame": 3, "label_id": 2, "attributes": [{"spec_id": 1, "value": 'a \u2028 "quoted" \n value'}]}
SHAPE = {"type": "rectangle", "frame": 1, "label_id": 1, "points": [0.1, 1e-7, 2.0, 3.5]}
TRACK = {
    "frame": 0,
    "label_id": 1,
    "shapes": [{"type": "rectangle", "frame": 0, "points": [0.0, 1.0, 2.0, 3.0]}],
}


def test_request_has_each_annotation_in_the_list_of_its_kind():
    body = request_body(map(serialize, [SHAPE, TAG, TRACK, SHAPE]))
    assert json.loads(body) == {"version": 0, "tags": [TAG], "shapes": [SHAPE, SHAPE], "tracks": [TRACK]}


def test_request_without_annotations_has_empty_lists():
    assert json.loads(request_body([])) == {"version": 0, "tags": [], "shapes": [], "tracks": []}


def test_serialized_annotation_is_one_line():
    assert b"\n" not in serialize(TAG).json


@pytest.mark.parametrize(
    ("frames", "most", "expected"),
    [
        ([0, 0, 1, 1, 2], 10, 5),
        ([0, 0, 1, 1, 2], 4, 4),
        ([0, 0, 1, 1, 2], 3, 2),  # frame 1 goes completely into the next request
        ([0, 0, 0, 0], 3, 3),  # a frame that is too large alone is divided
    ],
)
def test_request_length_keeps_frames_whole(frames, most, expected):
    annotations = [serialize({**SHAPE, "frame": frame}) for frame in frames]
    assert request_length(annotations, most, 10**6) == expected


def test_request_length_is_bounded_by_bytes_and_at_least_one():
    annotations = [serialize({**SHAPE, "frame": frame}) for frame in range(5)]
    size = len(annotations[0].json)
    assert request_length(annotations, 10, 3 * size) == 3
    assert request_length(annotations, 10, 1) == 1
