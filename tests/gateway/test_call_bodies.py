"""Whatever is sent as a call, it is read or refused with a status from 400 to 499."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_calls import encoded
from gateway_functions import Detection, Interaction, Tracking
from prefect_cvat.gateway.calls import read_call
from prefect_cvat.gateway.descriptions import describe
from prefect_cvat.gateway.refusals import Refusal

KINDS = [describe(function) for function in (Detection(), Interaction(), Tracking())]
numbers = st.integers() | st.floats() | st.just(10**400)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
points = st.lists(st.lists(numbers, min_size=1, max_size=3), max_size=3)
shapes = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["rectangle", "polygon", "mask"]) | values},
        optional={"points": st.lists(numbers, max_size=6) | values},
    ),
    max_size=3,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "image": st.just(encoded()) | values,
        "threshold": values,
        "pos_points": points | values,
        "neg_points": points | values,
        "obj_bbox": points | values,
        "text_prompts": values,
        "shapes": shapes | values,
        "states": st.lists(st.text(max_size=3) | values, max_size=2) | values,
    },
)


@pytest.mark.parametrize("description", KINDS, ids=lambda description: description.kind)
@given(body=bodies | values)
def test_any_json(description, body):
    status = 200
    try:
        call = read_call(json.dumps(body).encode(), description)
    except Refusal as refusal:
        status = refusal.status
    assert 400 <= status < 500 or call.image.decode().size == (64, 48)


@given(body=st.binary(max_size=40))
def test_any_bytes(body):
    with pytest.raises(Refusal):
        read_call(body, KINDS[0])
