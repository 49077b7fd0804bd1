import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictures import picture
from prefect_cvat.annotations.content_digest import attribute_defaults, content_digest
from prefect_cvat.auto_annotation import keypoint_spec, label_spec, select_attribute_spec, skeleton_label_spec
from prefect_cvat.models import Label

SHAPE = {
    "type": "rectangle",
    "frame": 3,
    "label_id": 7,
    "source": "auto",
    "points": [1.0, 2.0, 3.0, 4.0],
    "score": 0.5,
    "attributes": [{"spec_id": 1, "value": "a"}, {"spec_id": 2, "value": "b"}],
}


def test_digest_ignores_order_of_attributes_ids_and_unknown_fields():
    other = {**SHAPE, "attributes": SHAPE["attributes"][::-1], "id": 99, "elements": [], "group": 0, "new": 1}
    assert content_digest(SHAPE, {}) == content_digest(other, {})


@given(
    st.sampled_from(
        [
            ("frame", 4),
            ("label_id", 8),
            ("source", "manual"),
            ("type", "ellipse"),
            ("points", [1.0, 2.0, 3.0, 4.01]),
            ("score", 0.51),
            ("attributes", [{"spec_id": 1, "value": "x"}]),
            ("rotation", 10.0),
            ("occluded", True),
            ("outside", True),
            ("z_order", 1),
            ("group", 2),
        ]
    )
)
def test_digest_depends_on_every_other_field(change):
    assert content_digest(SHAPE, {}) != content_digest({**SHAPE, change[0]: change[1]}, {})


def test_digest_of_a_stored_annotation_equals_that_of_the_request(client):
    """Defaults of attributes, the order of elements, numbers as floats: all of these come from a server."""
    labels = [
        label_spec(
            "car", None, attributes=[select_attribute_spec("size", None, ["s", "l"], default_value="s")]
        ),
        skeleton_label_spec("body", None, [keypoint_spec("a", None), keypoint_spec("b", None)], svg=""),
    ]
    task = client.create_task("identity", labels)
    client.upload_images(task.id, {"a.png": picture()})
    car, body = client.labels(task.id)
    [job] = client.jobs(task.id)
    defaults = attribute_defaults((car, body))
    sent = [
        {"type": "rectangle", "frame": 0, "label_id": car.id, "source": "auto", "points": [1, 2, 3.25, 4]},
        {"type": "rectangle", "frame": 0, "label_id": car.id, "source": "auto", "points": [1, 2, 3, 4],
         "attributes": [{"spec_id": car.attributes[0].id, "value": "l"}], "score": 1 / 3},
        {"type": "skeleton", "frame": 0, "label_id": body.id, "source": "auto", "score": 0.5,
         "elements": [
             {"type": "points", "frame": 0, "label_id": sublabel.id, "points": [5, 6], "score": 0.25}
             for sublabel in body.sublabels
         ]},
    ]  # fmt: skip
    answer = client.create_job_annotations(job.id, {"shapes": sent})
    stored = client.job_annotations(job.id)
    expected = sorted(content_digest(shape, defaults) for shape in sent)
    assert sorted(content_digest(shape, defaults) for shape in answer.shapes) == expected
    assert sorted(content_digest(shape, defaults) for shape in stored.shapes) == expected


def test_attribute_defaults_of_labels_and_sublabels():
    label = Label.model_validate(
        {
            "id": 1,
            "name": "a",
            "attributes": [{"id": 5, "name": "x", "input_type": "text", "default_value": "d"}],
            "sublabels": [
                {"id": 2, "name": "b", "attributes": [{"id": 6, "name": "y", "input_type": "checkbox"}]}
            ],
        }
    )
    assert attribute_defaults((label,)) == {1: {5: "d"}, 2: {6: ""}}


TRACK = {
    "frame": 2,
    "label_id": 7,
    "source": "auto",
    "group": 0,
    "attributes": [{"spec_id": 1, "value": "red"}],
    "shapes": [
        {
            "type": "rectangle",
            "frame": 2,
            "points": [1, 2, 3, 4],
            "attributes": [{"spec_id": 2, "value": "a"}],
        },
        {"type": "rectangle", "frame": 5, "points": [2, 2, 4, 4], "outside": True},
    ],
}
TRACK_DEFAULTS = {7: {1: "red", 2: "z"}}


def with_keyframe(index, **change):
    shapes = [dict(shape) for shape in TRACK["shapes"]]
    shapes[index] |= change
    return {**TRACK, "shapes": shapes}


def test_digest_of_a_track_ignores_fields_of_the_server():
    """A keyframe's missing attribute is read back as that of the one before, the track's as the default."""
    read_back = {
        "id": 15,
        **TRACK,
        "elements": [],
        "shapes": [
            {"id": 28, "occluded": False, "z_order": 0, "rotation": 0.0, **TRACK["shapes"][1],
             "attributes": [{"spec_id": 2, "value": "a"}]},
            {"id": 27, "occluded": False, "outside": False, "z_order": 0, "rotation": 0.0, "keyframe": True,
             **TRACK["shapes"][0]},
        ],
    }  # fmt: skip
    sent = {**TRACK, "attributes": []}
    assert content_digest(sent, TRACK_DEFAULTS) == content_digest(read_back, TRACK_DEFAULTS)


@given(
    st.sampled_from(
        [
            {**TRACK, "label_id": 8},
            {**TRACK, "source": "manual"},
            {**TRACK, "group": 1},
            {**TRACK, "attributes": [{"spec_id": 1, "value": "blue"}]},
            {**TRACK, "shapes": TRACK["shapes"][:1]},
            with_keyframe(0, frame=1),
            with_keyframe(0, points=[1, 2, 3, 5]),
            with_keyframe(0, attributes=[]),
            with_keyframe(1, attributes=[{"spec_id": 2, "value": "b"}]),
            with_keyframe(1, outside=False),
            with_keyframe(1, occluded=True),
            with_keyframe(1, rotation=1.0),
            with_keyframe(1, z_order=1),
            {**TRACK, "elements": [{**TRACK, "label_id": 9}]},
            TRACK["shapes"][0] | {"label_id": 7, "source": "auto"},
        ]
    )
)
def test_digest_of_a_track_depends_on_every_other_field(other):
    assert content_digest(TRACK, TRACK_DEFAULTS) != content_digest(other, TRACK_DEFAULTS)


def test_digest_of_a_stored_track_equals_that_of_the_request(client):
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
    task = client.create_task("identity of tracks", labels)
    client.upload_images(task.id, {f"{index}.png": picture(seed=index) for index in range(8)})
    car, body = client.labels(task.id)
    [job] = client.jobs(task.id)
    defaults = attribute_defaults((car, body))
    turn = next(attribute.id for attribute in car.attributes if attribute.mutable)
    sent = [
        {"frame": 1, "label_id": car.id, "group": 0, "source": "auto", "attributes": [], "shapes": [
            {"type": "rectangle", "frame": 1, "points": [1, 2, 3.25, 4], "rotation": 30,
             "attributes": [{"spec_id": turn, "value": "r"}]},
            {"type": "rectangle", "frame": 4, "points": [1, 2, 1 / 3, 4]},
            {"type": "rectangle", "frame": 5, "points": [1, 2, 1 / 3, 4], "outside": True},
        ]},
        {"frame": 0, "label_id": body.id, "group": 0, "source": "auto",
         "shapes": [{"type": "skeleton", "frame": 0}],
         "elements": [
             {"frame": 0, "label_id": sublabel.id, "shapes": [{"type": "points", "frame": 0, "points": [5, 6]}]}
             for sublabel in body.sublabels
         ]},
    ]  # fmt: skip
    answer = client.create_job_annotations(job.id, {"tracks": sent})
    stored = client.job_annotations(job.id)
    expected = sorted(content_digest(track, defaults) for track in sent)
    assert sorted(content_digest(track, defaults) for track in answer.tracks) == expected
    assert sorted(content_digest(track, defaults) for track in stored.tracks) == expected
    assert len(set(expected)) == 2


BOX = {
    "type": "rectangle", "frame": 3, "label_id": 7, "source": "auto", "points": [1.00049, 2, 3.1234567, 4.5],
    "rotation": 10.00049, "occluded": True, "z_order": 2, "group": 4, "score": 1 / 3,
}  # fmt: skip
KEYPOINTS = [
    {"type": "points", "frame": 3, "label_id": label, "points": [label, 2.5], "score": 0.25}
    for label in (9, 8)
]
SKELETON = {"type": "skeleton", "frame": 3, "label_id": 7, "source": "auto", "points": [], "score": 0.5}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (SHAPE, "21d9c9853be1c1aab83a4f93"),
        (BOX, "c95fef77ab00e643bb869fd5"),
        ({**BOX, "points": [6.5185, 2.6745, -0.0004, 0.0625]}, "af5137b2bfeae22936c43f4b"),
        ({"frame": 3, "label_id": 7, "source": "auto"}, "aa1d72018545dab3a6dfb5c2"),
        ({**SKELETON, "elements": KEYPOINTS}, "5991139466f26bce12150f6b"),
        (
            {
                "label_id": 7,
                "frame": 0,
                "source": "auto",
                "shapes": [{**BOX, "frame": 5}, {**BOX, "frame": 0}],
            },
            "afff4dd6aec5e62074eff761",
        ),
    ],
    ids=["with attributes", "box", "ties", "tag", "skeleton", "track"],
)
def test_digests_stay_as_records_of_runs_have_them(annotation, expected):
    """`undo` compares the digests in a record, perhaps of an earlier version, with what is in the task."""
    assert content_digest(annotation, {8: {1: "x"}}).hex() == expected


@given(
    st.floats(-1, 65536)
    | st.floats(-1, 65536, width=32)
    | st.integers(-20_000, 655_360_000).map(lambda tenths: tenths / 10_000)  # also in the middle of two
    | st.integers(-20_000, 655_360_000).map(lambda sixteenths: sixteenths / 16)
    | st.sampled_from([6.5185, 0.0625, -0.0004, -0.0, 1e12 + 0.0005, 1e306, float("inf")])
)
def test_coordinates_are_rounded_as_python_does(x):
    rounded = content_digest({**SHAPE, "points": [round(x, 3)]}, {})
    assert content_digest({**SHAPE, "points": [x]}, {}) == rounded
