from hypothesis import given
from hypothesis import strategies as st

from pictures import picture
from prefect_cvat.auto_annotation import keypoint_spec, label_spec, select_attribute_spec, skeleton_label_spec
from prefect_cvat.identity import attribute_defaults, identity
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


def test_order_of_attributes_ids_and_unknown_fields_do_not_count():
    other = {**SHAPE, "attributes": SHAPE["attributes"][::-1], "id": 99, "elements": [], "group": 0, "new": 1}
    assert identity(SHAPE, {}) == identity(other, {})


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
def test_everything_else_does(change):
    assert identity(SHAPE, {}) != identity({**SHAPE, change[0]: change[1]}, {})


def test_what_the_server_gives_back_is_what_was_sent(client):
    """Defaults of attributes, the order of elements, numbers as floats: all of it comes from a server."""
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
    expected = sorted(identity(shape, defaults) for shape in sent)
    assert sorted(identity(shape, defaults) for shape in answer.shapes) == expected
    assert sorted(identity(shape, defaults) for shape in stored.shapes) == expected


def test_defaults_are_those_of_labels_and_sublabels():
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
