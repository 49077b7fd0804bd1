"""Pure functions: validation, job layout, tracks across jobs, masks as SVG paths."""

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.sandbox.annotations.annotation_body import validate_annotations
from prefect_cvat.sandbox.annotations.shared_frames import merge_shared_frame
from prefect_cvat.sandbox.annotations.track_parts import cut, interpolate, join
from prefect_cvat.sandbox.api.reply import ApiError
from prefect_cvat.sandbox.media.data_parameters import step_of
from prefect_cvat.sandbox.pages.svg import mask_path
from prefect_cvat.sandbox.tasks.job_layout import default_chunk_size, pool_layout, split

RECTANGLE: dict[str, Any] = {"type": "rectangle", "frame": 0, "label_id": 1, "points": [1, 2, 3, 4]}


def refusal(**changes: Any) -> Any:
    shape = {name: value for name, value in {**RECTANGLE, **changes}.items() if value is not ...}
    with pytest.raises(ApiError) as caught:
        validate_annotations({"shapes": [shape]}, new=True)
    return caught.value.body


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label_id": ...}, {"label_id": ["This field is required."]}),
        ({"label_id": "x"}, {"label_id": ["A valid integer is required."]}),
        ({"type": "blob"}, {"type": ['"blob" is not a valid choice.']}),
        ({"points": [1, 2, 3]}, {"points": ["invalid length for shape type 'rectangle'"]}),
        ({"points": None}, {"points": ["This field may not be null."]}),
        ({"frame": -1}, {"frame": ["Ensure this value is greater than or equal to 0."]}),
        ({"rotation": 400}, {"rotation": ["Ensure this value is less than or equal to 360."]}),
        ({"score": 1.5}, {"score": ["Ensure this value is less than or equal to 1."]}),
        ({"id": 3}, {"id": ["must be absent"]}),
        (
            {"type": "skeleton", "points": [], "elements": []},
            {"elements": ["at least one required for skeleton shape"]},
        ),
        ({"occluded": "perhaps"}, {"occluded": ["Must be a valid boolean."]}),
        ({"attributes": [{"spec_id": 1}]}, {"attributes": [{"value": ["This field is required."]}]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refuses_invalid_shape_with_message_of_cvat(changes: dict[str, Any], expected: Any) -> None:
    assert refusal(**changes) == {"shapes": [expected]}


def test_errors_are_at_the_positions_of_the_annotations() -> None:
    with pytest.raises(ApiError) as caught:
        validate_annotations({"shapes": [RECTANGLE, {**RECTANGLE, "frame": "a"}], "tags": [{}]}, new=True)
    assert caught.value.body["shapes"] == [{}, {"frame": ["A valid integer is required."]}]
    assert set(caught.value.body["tags"][0]) == {"frame", "label_id"}


@pytest.mark.parametrize(
    ("kind", "count", "fits"),
    [
        ("mask", 4, False),
        ("mask", 5, True),
        ("mask", 7, True),
        ("polygon", 6, True),
        ("polygon", 7, False),
        ("polygon", 4, False),
        ("ellipse", 4, True),
        ("cuboid", 16, True),
        ("cuboid", 8, False),
        ("points", 2, True),
        ("polyline", 2, False),
    ],
)
def test_each_shape_type_requires_its_number_of_coordinates(kind: str, count: int, fits: bool) -> None:
    shape = {**RECTANGLE, "type": kind, "points": [1.0] * count}
    if fits:
        assert validate_annotations({"shapes": [shape]}, new=True).shapes[0]["points"] == [1.0] * count
    else:
        assert refusal(type=kind, points=[1.0] * count)


def test_attribute_values_become_strings() -> None:
    values = [{"spec_id": 1, "value": value} for value in (33, True, "x")]
    shape = validate_annotations({"shapes": [{**RECTANGLE, "attributes": values}]}, new=True).shapes[0]
    assert [value["value"] for value in shape["attributes"]] == ["33", "True", "x"]


@given(
    count=st.integers(1, 300),
    segment_size=st.integers(0, 80),
    overlap=st.none() | st.integers(0, 60),
    video=st.booleans(),
)
def test_jobs_cover_every_frame_and_only_consecutive_jobs_overlap(
    count: int, segment_size: int, overlap: int | None, video: bool
) -> None:
    layout = split(count, segment_size=segment_size, overlap=overlap, video=video)
    starts, stops = zip(*layout.borders, strict=True)
    assert starts[0] == 0
    assert stops[-1] == count - 1
    assert all(start <= stop for start, stop in layout.borders)
    for (_, stop), (start, _) in zip(layout.borders, layout.borders[1:], strict=False):
        assert stop - start + 1 == layout.overlap
    assert all(later > earlier for earlier, later in zip(starts, starts[2:], strict=False))


@pytest.mark.parametrize(
    ("arguments", "borders"),
    [
        ({"count": 12, "segment_size": 5, "overlap": 0, "video": False}, ((0, 4), (5, 9), (10, 11))),
        ({"count": 16, "segment_size": 10, "overlap": 2, "video": True}, ((0, 9), (8, 15))),
        ({"count": 60, "segment_size": 25, "overlap": None, "video": True}, ((0, 24), (20, 44), (40, 59))),
        ({"count": 60, "segment_size": 0, "overlap": None, "video": True}, ((0, 59),)),
    ],
)
def test_splits_jobs_like_cvat(arguments: Any, borders: Any) -> None:
    assert split(arguments.pop("count"), **arguments).borders == borders


@given(seed=st.integers(), pool=st.integers(1, 6), segment_size=st.integers(0, 7), data=st.data())
def test_every_job_has_its_honeypots(seed: int, pool: int, segment_size: int, data: st.DataObject) -> None:
    per_job = data.draw(st.integers(1, pool))
    layout = pool_layout(
        range(20),
        range(pool),
        segment_size=segment_size,
        per_job=per_job,
        generator=random.Random(seed),
    )
    assert layout.sources[layout.pool[0] :] == tuple(range(pool))
    for start, stop in layout.borders:
        honeypots = [frame for frame in range(start, stop + 1) if frame in layout.real_frames]
        assert len(honeypots) == per_job
        for frame in honeypots:
            assert layout.sources[frame] == layout.sources[layout.real_frames[frame]]
    ordinary = [source for frame, source in enumerate(layout.sources) if frame not in layout.real_frames]
    assert sorted(ordinary) == list(range(20))


def test_default_chunk_size_is_that_of_cvat() -> None:
    assert [default_chunk_size(*size) for size in ((100, 80), (1920, 1080), (8000, 8000))] == [72, 36, 2]
    assert (step_of("step=3"), step_of("")) == (3, 1)


def keyframe(frame: int, left: float, *, outside: bool = False) -> dict[str, Any]:
    points = [left, 0.0, left + 10.0, 10.0]
    return {
        "type": "rectangle",
        "frame": frame,
        "points": points,
        "outside": outside,
        "occluded": False,
        "rotation": 0.0,
        "z_order": 0,
        "attributes": [],
    }


def track(*shapes: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": 1,
        "label_id": 1,
        "frame": shapes[0]["frame"],
        "shapes": list(shapes),
        "elements": [],
        "attributes": [],
    }


def test_track_part_starts_with_interpolated_keyframe() -> None:
    whole = track(keyframe(2, 0), keyframe(9, 70), keyframe(12, 70, outside=True))
    first, second = cut(whole, 0, 9), cut(whole, 8, 15)
    assert first is not None
    assert second is not None
    assert [shape["frame"] for shape in first["shapes"]] == [2, 9]
    assert [(shape["frame"], round(shape["points"][0])) for shape in second["shapes"]] == [
        (8, 60),
        (9, 70),
        (12, 70),
    ]
    assert cut(whole, 13, 15) is None


def test_joins_track_parts_that_agree_on_shared_frames() -> None:
    whole = track(keyframe(2, 0), keyframe(9, 70), keyframe(12, 70, outside=True))
    parts = [(start, stop, cut(whole, start, stop)) for start, stop in ((0, 9), (8, 15))]
    (joined,) = join([(start, stop, part) for start, stop, part in parts if part])
    assert [shape["frame"] for shape in joined["shapes"]] == [2, 8, 9, 12]
    assert interpolate(joined["shapes"], 5)["points"] == interpolate(whole["shapes"], 5)["points"]  # type: ignore[index]


def test_tracks_of_jobs_without_overlap_end_after_their_job() -> None:
    whole = track(keyframe(0, 0))
    parts = [(start, stop, cut(whole, start, stop)) for start, stop in ((0, 4), (5, 9), (10, 11))]
    joined = join([(start, stop, part) for start, stop, part in parts if part])
    assert [[(s["frame"], s["outside"]) for s in item["shapes"]] for item in joined] == [
        [(0, False), (5, True)],
        [(5, False), (10, True)],
        [(10, False)],
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.floats(0, 500)), min_size=1, max_size=6, unique_by=lambda k: k[0]
    )
)
def test_splitting_a_track_keeps_positions(keys: list[tuple[int, float]]) -> None:
    whole = track(*(keyframe(frame, left) for frame, left in sorted(keys)))
    for start, stop in ((0, 14), (10, 24), (20, 40)):
        part = cut(whole, start, stop)
        for frame in range(start, stop + 1):
            expected = interpolate(whole["shapes"], frame)
            found = interpolate(part["shapes"], frame) if part else None
            if expected is None:
                assert found is None
            elif max(key for key, _ in keys) <= stop or frame in dict(keys):
                assert found is not None
                assert found["points"] == pytest.approx(expected["points"])


def test_merges_equal_shapes_on_shared_frames() -> None:
    one = {**RECTANGLE, "points": [0, 0, 10, 10], "id": 1}
    twin = {**one, "id": 2}
    neighbour = {**one, "points": [30, 0, 40, 10], "id": 3}
    assert [item["id"] for item in merge_shared_frame([one], [twin, neighbour])] == [1, 3]
    assert [item["id"] for item in merge_shared_frame([one, neighbour], [])] == [1, 3]
    assert len(merge_shared_frame([one], [twin, {**twin, "id": 4}])) == 2


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 9))
def test_svg_path_of_mask_covers_its_pixels(pixels: list[bool], width: int) -> None:
    pixels += [False] * (-len(pixels) % width)
    height = len(pixels) // width
    runs, current = [0], False
    for pixel in pixels:
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    path = mask_path([*runs, 5, 7, 5 + width - 1, 7 + height - 1])
    covered = {
        (int(x) + step, int(y))
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1", path)
        for step in range(int(length))
    }
    assert covered == {(5 + i % width, 7 + i // width) for i, pixel in enumerate(pixels) if pixel}
