"""A server joins the parts of a track."""

import pytest

from prefect_cvat.annotations.content_digest import attribute_defaults, content_digest
from prefect_cvat.auto_annotation import keypoint_spec, label_spec, select_attribute_spec, skeleton_label_spec
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.options.track_options import TrackOptions
from prefect_cvat.tracking.split_at_job_borders import TrackBuilder
from tracking.built_tracks import rectangle


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
