"""Tracks as CVAT gets them: what interpolating them gives back, on which frames, in which jobs."""

import math
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_cvat.annotations.content_digest import attribute_defaults, content_digest
from prefect_cvat.auto_annotation import keypoint_spec, label_spec, select_attribute_spec, skeleton_label_spec
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.models import Job, Label
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.tracks_by_job import TrackBuilder

LABELS = [
    Label.model_validate(
        {
            "id": 1,
            "name": "car",
            "attributes": [
                {"id": 11, "name": "colour", "input_type": "text", "default_value": "red"},
                {"id": 12, "name": "turn", "input_type": "text", "default_value": "none", "mutable": True},
            ],
        }
    ),
    Label.model_validate(
        {
            "id": 2,
            "name": "body",
            "type": "skeleton",
            "sublabels": [
                {"id": 21, "name": "a"},
                {
                    "id": 22,
                    "name": "b",
                    "attributes": [
                        {
                            "id": 23,
                            "name": "bent",
                            "input_type": "checkbox",
                            "default_value": "false",
                            "mutable": True,
                        }
                    ],
                },
            ],
        }
    ),
]


def job(number, start, stop):
    return Job(id=number, task_id=1, start_frame=start, stop_frame=stop)


def rectangle(*points, **fields):
    return {
        "type": "rectangle",
        "label_id": 1,
        "points": list(points) or [0.0, 0.0, 10.0, 10.0],
        "rotation": 0.0,
        "attributes": [],
        **fields,
    }


def skeleton(frame, a, b, **second):
    return {
        "type": "skeleton",
        "label_id": 2,
        "frame": frame,
        "elements": [
            {"type": "points", "label_id": 22, "points": list(b), **second},
            {"type": "points", "label_id": 21, "points": list(a)},
        ],
    }


def assemble(seen, *, jobs, frames=None, options=None, **fields):
    """The tracks by job of `{frame: [(number, shape), ...]}`; a shape alone is one of track 0."""
    assembler = TrackBuilder(jobs, options or TrackOptions(min_length=1, **fields), LABELS)
    for frame in frames or sorted(seen):
        items = seen.get(frame, [])
        items = [(0, items)] if isinstance(items, dict) else items
        assembler.add(frame, items, exact(items))
    assembler.finish()
    return assembler.take()


def exact(items):
    return {number for number, shape in items if shape.get("drawn")}


def keyframes(track):
    return [(shape["frame"], shape["outside"]) for shape in track["shapes"]]


def visible_frames(track, job):
    return {
        frame for frame in range(job.start_frame, job.stop_frame + 1) if interpolate(track, frame) is not None
    }


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


def test_unprocessed_frames_are_no_gap_and_a_track_ends_after_its_last_detection():
    seen = {frame: rectangle() for frame in range(0, 61, 20)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 99)], frames=range(0, 100, 20), step=20, fill_gap=0)
    assert keyframes(track) == [(0, False), (60, False), (61, True)]


def test_parts_begin_and_end_with_interpolated_keyframes_between_processed_frames():
    """Jobs 0-4, 5-9 and 10-19, every 7th frame: the second job has frame 7 only, and goes on to its end."""
    seen = {frame: rectangle(frame, 0, frame + 10, 10) for frame in (0, 7, 14)}
    tracks = dict(assemble(seen, jobs=[job(1, 0, 4), job(2, 5, 9), job(3, 10, 19)], step=7))
    assert {number: keyframes(track) for number, track in tracks.items()} == {
        1: [(0, False), (4, False)],
        2: [(5, False), (9, False)],
        3: [(10, False), (14, False), (15, True)],
    }
    assert tracks[2]["frame"] == 5
    assert tracks[2]["shapes"][0]["points"] == pytest.approx([5, 0, 15, 10])


def test_job_without_processed_frames_gets_passing_tracks():
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


def test_changing_attributes_make_keyframes_and_the_others_are_voted_for():
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


def test_a_track_may_be_taken_as_soon_as_its_job_is_over():
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


def test_a_job_is_open_while_a_track_may_come_back_after_it():
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


# --- properties ----------------------------------------------------------------------------------


@st.composite
def scenes(draw):
    """Frames that are looked at, jobs that cover them and may overlap, objects that come and go, options."""
    step = draw(st.integers(1, 4))
    size = draw(st.integers(2, 50))
    looked_at = sorted(set(range(0, size, step)) - set(draw(st.lists(st.integers(1, size), max_size=4))))
    length, overlap = draw(st.integers(2, 20)), draw(st.integers(0, 1))
    jobs, start = [], 0
    while not jobs or jobs[-1].stop_frame < size - 1:
        jobs.append(job(len(jobs) + 1, start, min(start + length - 1, size - 1)))
        start = jobs[-1].stop_frame + 1 - overlap
    coordinate = st.floats(-3, 3)
    seen = {frame: [] for frame in looked_at}
    for number in range(draw(st.integers(1, 3))):
        for frame in looked_at:
            if draw(st.sampled_from([True, True, True, False])):
                points = [draw(coordinate) + way * frame for way in (0, 1.5, 0, 1.5)]
                rotation = draw(st.sampled_from([0.0, 0.0, 1.0, 359.0, 90.0]))
                occluded = draw(st.sampled_from([False] * 5 + [True]))
                name = [{"spec_id": 11, "value": str(number)}]
                shape = rectangle(*points, rotation=rotation, occluded=occluded, attributes=name)
                shape["drawn"] = draw(st.sampled_from([False] * 9 + [True]))
                seen[frame].append((number, shape))
    options = TrackOptions(
        step=step,
        min_length=draw(st.integers(1, 3)),
        max_gap=draw(st.integers(4, 12)),
        fill_gap=draw(st.integers(0, 6)),
        tolerance=draw(st.sampled_from([0.0, 1.0, 2.0, 5.0])),
    )
    return looked_at, jobs, seen, options


def sightings(looked_at, seen, options):
    """By track, the stretches of frames that it is visible on: `[[(frame, shape), ...], ...]`."""
    tracks = []
    for number in {number for items in seen.values() for number, _ in items}:
        own = [(frame, dict(seen[frame])[number]) for frame in looked_at if number in dict(seen[frame])]
        stretches = []
        for index, (frame, shape) in enumerate(own):
            before = own[index - 1][0] if index else None
            if before is None or frame - before > options.max_gap:
                tracks.append((number, stretches := [[]]))
            elif (
                frame - before - 1 > options.fill_gap and looked_at.index(frame) - looked_at.index(before) > 1
            ):
                stretches.append([])
            stretches[-1].append((frame, shape))
    return [
        (number, stretches) for number, stretches in tracks if sum(map(len, stretches)) >= options.min_length
    ]


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_interpolation_returns_the_detections(scene):
    looked_at, jobs, seen, options = scene
    found = assemble(seen, jobs=jobs, frames=looked_at, options=options)
    wanted = []
    for number, stretches in sightings(looked_at, seen, options):
        for each in jobs:
            own = range(each.start_frame, each.stop_frame + 1)
            visible = {f for s in stretches for f in range(s[0][0], s[-1][0] + 1) if f in own}
            if visible:
                wanted.append((each.id, str(number), visible))
                [track] = [
                    track
                    for job_id, track in found
                    if (job_id, track["attributes"][0]["value"]) == (each.id, str(number))
                    and visible_frames(track, each) == visible
                ]
                for frame, shape in (each for stretch in stretches for each in stretch):
                    tolerance = 0 if shape["drawn"] else options.tolerance
                    assert frame not in own or close(interpolate(track, frame), shape, tolerance)
    assert len(found) == len(wanted)
    by_id = {each.id: each for each in jobs}
    for job_id, track in found:
        frames = [shape["frame"] for shape in track["shapes"]]
        assert frames == sorted(set(frames))
        assert frames[0] == track["frame"] >= by_id[job_id].start_frame
        assert frames[-1] <= by_id[job_id].stop_frame
        assert all(0 <= shape["rotation"] <= 360 for shape in track["shapes"])


def close(one, other, tolerance):
    radius = math.hypot(*(other["points"][i + 2] - other["points"][i] for i in (0, 1))) / 2
    turn = abs((one["rotation"] - other["rotation"] + 180) % 360 - 180)
    return (
        one["points"] == pytest.approx(other["points"], abs=tolerance + 1e-6)
        and math.radians(turn) * max(radius, 1) <= tolerance + 1e-6
        and one["occluded"] == other.get("occluded", False)
    )


@settings(max_examples=100, deadline=None)
@given(scenes(), st.lists(st.booleans(), min_size=1))
def test_tracks_do_not_depend_on_when_they_are_taken(scene, takes):
    looked_at, jobs, seen, options = scene
    assembler = TrackBuilder(jobs, options, LABELS)
    taken = []
    for index, frame in enumerate(looked_at):
        assembler.add(frame, seen[frame], exact(seen[frame]))
        if takes[index % len(takes)]:
            taken += assembler.take()
    over = {each.id for each in jobs} - assembler.open_jobs
    taken += assembler.take()
    assembler.finish()
    rest = assembler.take()
    assert over.isdisjoint(number for number, _ in rest)
    assert taken + rest == assemble(seen, jobs=jobs, frames=looked_at, options=options)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(50, 300), st.floats(0, 6), st.floats(100, 400), st.floats(0, 6), st.lists(st.floats(-0.5, 0.5), min_size=200, max_size=200)
)  # fmt: skip
def test_smooth_motion_needs_keyframes_for_at_most_a_quarter_of_the_boxes(width, phase, period, speed, noise):
    def points(frame):
        left = 200 + speed * frame + 50 * math.sin(phase + 2 * math.pi * frame / period)
        top = 100 + 30 * math.cos(phase + 2 * math.pi * frame / period) + noise[frame]
        return left + noise[-frame], top, left + width - noise[frame], top + 2 * width

    seen = {frame: rectangle(*points(frame)) for frame in range(200)}
    [(_, track)] = assemble(seen, jobs=[job(1, 0, 199)])
    assert len(track["shapes"]) <= 50


# --- against a server ----------------------------------------------------------------------------


def test_server_joins_the_parts_of_a_track(client, make_task):
    labels = [
        label_spec(
            "car",
            None,
            attributes=[
                select_attribute_spec("colour", None, ["red", "blue"], default_value="red"),
                select_attribute_spec("turn", None, ["l", "r"], default_value="l", mutable=True),
            ],
        ),
        skeleton_label_spec("body", None, [keypoint_spec("a", None), keypoint_spec("b", None)], svg=""),
    ]
    task_id = make_task(30, labels=labels, segment_size=12, overlap=2)
    car, body = client.labels(task_id)
    jobs = client.jobs(task_id)
    assert [(each.start_frame, each.stop_frame) for each in jobs] == [(0, 11), (10, 21), (20, 29)]
    turn = next(attribute.id for attribute in car.attributes if attribute.mutable)
    assembler = TrackBuilder(jobs, TrackOptions(step=3, fill_gap=3), [car, body])
    for frame in range(0, 30, 3):
        attributes = [{"spec_id": turn, "value": "r"}] if frame == 9 else []
        items = [(0, rectangle(frame, 0, frame + 20, 9, label_id=car.id, attributes=attributes))]
        if frame not in (9, 12, 15):
            items.append((1, rectangle(30, 30, 40, 40, label_id=car.id)))
        items.append((2, {"type": "skeleton", "label_id": body.id, "elements": [
            {"type": "points", "label_id": sublabel.id, "points": [frame, 20 + index]}
            for index, sublabel in enumerate(body.sublabels)
        ]}))  # fmt: skip
        assembler.add(frame, items)
    assembler.finish()
    parts = assembler.take()
    defaults = attribute_defaults((car, body))
    for each in jobs:
        own = [track for number, track in parts if number == each.id]
        answer = client.create_job_annotations(each.id, {"tracks": own})
        stored = client.job_annotations(each.id)
        expected = sorted(content_digest(track, defaults) for track in own)
        assert sorted(content_digest(track, defaults) for track in answer.tracks) == expected
        assert sorted(content_digest(track, defaults) for track in stored.tracks) == expected
        for track in stored.tracks:
            assert {"id", "frame", "label_id", "group", "source", "shapes", "attributes", "elements"} == set(
                track
            )
    whole = client._transport.json("GET", f"/api/tasks/{task_id}/annotations")["tracks"]
    cars = [track for track in whole if track["label_id"] == car.id]
    [moving] = [track for track in cars if track["shapes"][0]["points"][0] == 0]
    standing = [track for track in cars if track is not moving]  # two: nothing joins its parts
    [skeleton_track] = [track for track in whole if track["label_id"] == body.id]
    for frame in range(28):
        assert interpolate(moving, frame)["points"] == pytest.approx([frame, 0, frame + 20, 9])
        elements = interpolate(skeleton_track, frame)["elements"]
        assert sorted(element["points"][0] for element in elements) == pytest.approx([frame, frame])
        is_standing = frame not in range(7, 18)
        assert [interpolate(track, frame) is not None for track in standing].count(True) == is_standing
    assert [interpolate(track, 28) for track in whole] == [None] * 4


def test_memory_does_not_grow_with_the_frames():
    """Five objects at a time, each there for 100 frames, with so much jitter that all are keyframes."""
    jobs = [job(number, 100 * number, 100 * number + 99) for number in range(20)]
    assembler = TrackBuilder(jobs, TrackOptions(tolerance=0.5), LABELS)
    rng = random.Random(1)

    def run(first, last):
        for frame in range(first, last):
            items = [
                (5 * (frame // 100) + lane, rectangle(*(rng.gauss(0, 9) for _ in range(4))))
                for lane in range(5)
            ]
            assembler.add(frame, items)
            assembler.take()

    def peak(first, last):
        tracemalloc.reset_peak()
        run(first, last)
        return tracemalloc.get_traced_memory()[1]

    run(0, 150)
    tracemalloc.start()
    try:
        early = peak(150, 550)
        run(550, 1450)
        late = peak(1450, 1850)
    finally:
        tracemalloc.stop()
    assert late < 1.5 * early + 100_000  # to keep what was found in between would take 1,300,000 more
