"""Tracks as CVAT gets them: their interpolation, their frames and their jobs."""

import math

import pytest

from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder
from tracking.built_tracks import LABELS, assemble, job, keyframes, rectangle, skeleton


def test_even_motion_needs_two_keyframes_and_one_outside():
    seen = {frame: rectangle(frame, 0, frame + 10, 10) for frame in range(20)}
    [(job_id, track)] = assemble(seen, jobs=[job(7, 0, 99)])
    assert job_id == 7
    assert track == {
        "frame": 0,
        "label_id": 1,
        "group": 0,
        "source": "auto",
        "attributes": [],
        "elements": [],
        "shapes": [
            {"type": "rectangle", "frame": frame, "points": points, "outside": outside, "occluded": False,
             "rotation": 0.0, "z_order": 0, "attributes": [{"spec_id": 12, "value": "none"}]}
            for frame, points, outside in [
                (0, [0, 0, 10, 10], False), (19, [19, 0, 29, 10], False), (20, [19, 0, 29, 10], True)
            ]
        ],
    }  # fmt: skip


def test_track_detected_to_the_end_of_its_job_is_not_closed():
    [(_, track)] = assemble({frame: rectangle() for frame in range(10)}, jobs=[job(1, 0, 9)])
    assert keyframes(track) == [(0, False), (9, False)]


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        (8, [(0, False), (8, False), (9, True)]),  # 3 frames without it: interpolated
        (9, [(0, False), (4, False), (5, True), (9, False), (10, True)]),  # 4: outside
        (12, [(0, False), (4, False), (5, True), (12, False), (13, True)]),  # 8 from one to the next: max_gap
    ],
)
def test_gaps(back, expected):
    seen = {frame: rectangle() for frame in (0, 1, 2, 3, 4, back)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 99)], frames=range(20), fill_gap=3, max_gap=8)
    assert keyframes(track) == expected


def test_starts_new_track_after_maximum_gap():
    seen = {0: rectangle(), 1: rectangle(), 10: rectangle(), 11: rectangle()}
    tracks = assemble(seen, jobs=[job(1, 0, 99)], frames=range(20), fill_gap=3, max_gap=8)
    assert [keyframes(track) for _, track in tracks] == [
        [(0, False), (1, False), (2, True)],
        [(10, False), (11, False), (12, True)],
    ]


def test_unprocessed_frames_are_not_gaps_and_a_track_ends_after_its_last_detection():
    seen = {frame: rectangle() for frame in range(0, 61, 20)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 99)], frames=range(0, 100, 20), step=20, fill_gap=0)
    assert keyframes(track) == [(0, False), (60, False), (61, True)]


def test_parts_begin_and_end_with_interpolated_keyframes_between_processed_frames():
    """Jobs 0-4, 5-9 and 10-19, every 7th frame: the second job has frame 7 only, and the track extends to its end."""
    seen = {frame: rectangle(frame, 0, frame + 10, 10) for frame in (0, 7, 14)}
    tracks = dict(assemble(seen, jobs=[job(1, 0, 4), job(2, 5, 9), job(3, 10, 19)], step=7))
    assert {number: keyframes(track) for number, track in tracks.items()} == {
        1: [(0, False), (4, False)],
        2: [(5, False), (9, False)],
        3: [(10, False), (14, False), (15, True)],
    }
    assert tracks[2]["frame"] == 5
    assert tracks[2]["shapes"][0]["points"] == pytest.approx([5, 0, 15, 10])


def test_tracks_pass_through_a_job_without_processed_frames():
    seen = {frame: rectangle(frame, 0, frame + 10, 10) for frame in (0, 10)}
    tracks = dict(assemble(seen, jobs=[job(1, 0, 3), job(2, 4, 4), job(3, 5, 20)], step=10))
    assert keyframes(tracks[2]) == [(4, False)]
    assert tracks[2]["shapes"][0]["points"] == pytest.approx([4, 0, 14, 10])


def test_track_is_outside_after_its_end():
    seen = {0: rectangle(), 5: rectangle()}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 7)], frames=(0, 5), step=5)
    assert keyframes(track) == [(0, False), (5, False), (6, True)]


def test_jobs_that_overlap_both_get_the_frames():
    seen = {frame: rectangle(frame, 0, frame + 10, 10) for frame in range(20)}
    tracks = dict(assemble(seen, jobs=[job(1, 0, 11), job(2, 8, 19)]))
    assert keyframes(tracks[1]) == [(0, False), (11, False)]
    assert keyframes(tracks[2]) == [(8, False), (19, False)]


def test_min_length_counts_over_the_whole_task():
    seen = {
        1: [(0, rectangle()), (1, rectangle())],
        2: [(0, rectangle())],
        3: [(0, rectangle()), (1, rectangle())],
    }
    jobs = [job(1, 0, 1), job(2, 2, 9)]
    tracks = assemble(seen, jobs=jobs, frames=range(10), options=TrackOptions(min_length=3))
    assert [(number, keyframes(track)) for number, track in tracks] == [
        (1, [(1, False)]),
        (2, [(2, False), (3, False), (4, True)]),
    ]


def test_mutable_attributes_make_keyframes_and_the_others_are_decided_by_vote():
    def shape(turn, colour):
        attributes = [{"spec_id": 11, "value": colour}]
        return rectangle(attributes=attributes + ([{"spec_id": 12, "value": turn}] if turn else []))

    seen = dict(
        enumerate(shape(*each) for each in [("l", "b"), ("l", "a"), ("r", "a"), ("r", "b"), (None, "c")])
    )
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 4)])
    assert track["attributes"] == [{"spec_id": 11, "value": "b"}]  # as often as "a", but first
    assert [(shape["frame"], shape["attributes"]) for shape in track["shapes"]] == [
        (frame, [{"spec_id": 12, "value": value}]) for frame, value in [(0, "l"), (2, "r"), (4, "none")]
    ]


def test_occlusion_makes_keyframes():
    seen = {frame: rectangle(occluded=frame in (3, 4)) for frame in range(10)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 9)])
    assert [(shape["frame"], shape["occluded"]) for shape in track["shapes"]] == [
        (0, False), (3, True), (5, False), (9, False)
    ]  # fmt: skip


def test_rotation_is_interpolated_along_the_shorter_arc():
    seen = {frame: rectangle(rotation=(350 + 2 * frame) % 360) for frame in range(11)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 10)])
    assert keyframes(track) == [(0, False), (10, False)]
    assert interpolate(track, 4)["rotation"] == pytest.approx(358)
    assert interpolate(track, 6)["rotation"] == pytest.approx(2)


def test_turning_object_has_keyframes_within_half_a_turn():
    seen = {frame: rectangle(rotation=(10 * frame) % 360) for frame in range(100)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 99)])
    assert [frame for frame, _ in keyframes(track)] == [0, 17, 34, 51, 68, 85, 99]
    for frame in range(100):
        assert interpolate(track, frame)["rotation"] == pytest.approx(10 * frame % 360)


def test_skeletons_are_tracks_of_their_elements():
    seen = {frame: skeleton(frame, (frame, 0), (0, frame)) for frame in range(6)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 9)], frames=range(10))
    assert track["label_id"] == 2
    assert all(shape["type"] == "skeleton" and "points" not in shape for shape in track["shapes"])
    assert [element["label_id"] for element in track["elements"]] == [21, 22]
    for part in (track, *track["elements"]):
        assert keyframes(part) == [(0, False), (5, False), (6, True)]
        assert part["frame"] == 0
    assert track["elements"][1]["shapes"][1]["attributes"] == [{"spec_id": 23, "value": "false"}]
    assert [element["points"] for element in interpolate(track, 2)["elements"]] == [[2, 0], [0, 2]]


def test_element_outside_keeps_its_position():
    seen = {
        0: skeleton(0, (0, 0), (5, 5)),
        10: skeleton(10, (0, 0), (0, 0), outside=True),
        20: skeleton(20, (0, 0), (8, 8)),
    }
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 20)], step=10)
    second = track["elements"][1]
    assert [(shape["points"], shape["outside"]) for shape in second["shapes"]] == [
        ([5, 5], False), ([5, 5], True), ([8, 8], False)
    ]  # fmt: skip
    assert len(interpolate(track, 15)["elements"]) == 1


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("polygon", [0, 0, 9, 0, 9, 9]),
        ("polyline", [0, 0, 9, 0]),
        ("points", [0, 0, 9, 0]),
        ("mask", [0, 4, 1, 1, 2, 2]),
    ],
)
def test_types_without_interpolation_have_a_keyframe_on_each_frame(kind, points):
    seen = {frame: rectangle(*points, type=kind) for frame in range(0, 10, 2)}
    seen[4]["points"] = [*points, 1, 1]
    jobs = [job(1, 0, 4), job(2, 5, 20)]
    tracks = dict(assemble(seen, jobs=jobs, step=2))
    assert keyframes(tracks[1]) == [(0, False), (2, False), (4, False)]
    assert keyframes(tracks[2]) == [(5, False), (6, False), (8, False), (9, True)]
    assert tracks[2]["shapes"][0]["points"] == [*points, 1, 1]
    assert interpolate(tracks[1], 3)["points"] == points


def test_a_single_point_moves_in_straight_lines():
    seen = {frame: rectangle(frame, 2 * frame, type="points") for frame in range(10)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 9)])
    assert keyframes(track) == [(0, False), (9, False)]


def test_track_can_be_taken_as_soon_as_its_job_ends():
    assembler = TrackBuilder([job(1, 0, 4), job(2, 5, 9)], TrackOptions(min_length=1), LABELS)
    for frame in range(5):
        assert assembler.open_jobs == {1, 2}
        assert assembler.take() == []
        assembler.add(frame, [(0, rectangle())])
    assert assembler.open_jobs == {2}
    assert [number for number, _ in assembler.take()] == [1]
    assembler.finish()
    assert assembler.take() == []
    assert assembler.open_jobs == set()


def test_job_is_open_while_a_track_may_reappear_after_it():
    assembler = TrackBuilder([job(1, 0, 4), job(2, 5, 5), job(3, 6, 99)], TrackOptions(fill_gap=5), LABELS)
    for frame in range(4):
        assembler.add(frame, [(0, rectangle())])
    for frame in range(4, 8):
        assembler.add(frame, [])
    assert assembler.open_jobs == {1, 2, 3}
    assembler.add(9, [(0, rectangle())])
    assert assembler.open_jobs == {3}
    assert [(number, keyframes(track)) for number, track in assembler.take()] == [
        (1, [(0, False), (4, False)]),
        (2, [(5, False)]),
    ]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ((0, []), "must ascend"),
        ((1, [(0, rectangle()), (0, rectangle())]), "track 0 is on frame 1 twice"),
        (
            (1, [(0, rectangle(type="ellipse"))]),
            "track 0 is a rectangle of label 1 and cannot become an? ellipse",
        ),
        ((1, [(0, rectangle(label_id=2))]), "cannot become a rectangle of label 2"),
    ],
)
def test_refuses_impossible_options(second, message):
    assembler = TrackBuilder([job(1, 0, 9)], TrackOptions(), LABELS)
    assembler.add(0, [(0, rectangle())])
    with pytest.raises(ValueError, match=message):
        assembler.add(*second)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step": 0}, "step must be 1 or more, not 0"),
        ({"min_length": 1.5}, "min_length must be a valid integer, not 1.5"),
        ({"tolerance": -1}, "tolerance must be 0 or more, not -1"),
        ({"tolerance": math.nan}, "tolerance must be a finite number, not nan"),
        ({"min_iou": 1.1}, "min_iou must be less than or equal to 1, not 1.1"),
        ({"activation": -0.1}, "activation must be 0 or more, not -0.1"),
        ({"step": 31}, "max_gap=30 must not be less than step=31"),
        ({"tracker": "deepsort"}, "tracker must be 'bytetrack', 'ocsort' or 'sort', not 'deepsort'"),
    ],
)
def test_refuses_options_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        TrackOptions(**fields)


def test_exact_shapes_become_unchanged_keyframes():
    seen = {frame: rectangle(frame % 2, 0, 10, 10) for frame in range(20)}
    seen[8] = rectangle(5.25, 1, 10, 10, rotation=3.0, drawn=True)
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 19)], tolerance=50)
    assert keyframes(track) == [(0, False), (8, False), (19, False)]
    assert track["shapes"][1]["points"] == [5.25, 1, 10, 10]
    assert track["shapes"][1]["rotation"] == 3.0
