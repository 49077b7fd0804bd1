"""Tracking functions as trackers of CVAT's pages."""

import pytest

from gateway_functions import Tracking
from pictures import picture
from prefect_cvat.gateway import GatewayConfiguration

BOX = {"type": "rectangle", "points": [1, 2, 10, 12]}
TRIANGLE = {"type": "polygon", "points": [1, 2, 30, 4, 5, 20]}


def test_record_has_the_shape_types(serve):
    annotations = serve(trk=Tracking()).function("trk").json()["metadata"]["annotations"]
    assert annotations["supported_shape_types"] == "polygon,rectangle"
    assert annotations["type"] == "tracker"


def test_shapes_move_from_image_to_image(serve):
    calls = serve(trk=Tracking())
    begun = calls.from_page("trk", shapes=[BOX, TRIANGLE], states=[])
    assert len(set(begun["states"])) == 2
    found = calls.from_page("trk", picture(seed=1), shapes=[None, None], states=begun["states"])
    assert found["shapes"] == [
        {"type": "rectangle", "points": [3, 3, 12, 13]},
        {"type": "polygon", "points": [3, 3, 32, 5, 7, 21]},
    ]
    again = calls.from_page("trk", picture(seed=2), shapes=[None, None], states=found["states"])
    assert again["shapes"][0]["points"] == [5, 4, 14, 14]


def test_states_are_random_and_say_nothing(serve):
    calls = serve(trk=Tracking())
    states = {calls.from_page("trk", shapes=[BOX])["states"][0] for _ in range(10)}
    assert len(states) == 10
    assert all(len(state) >= 32 for state in states)


def test_lost_object_keeps_its_last_known_shape(serve, caplog):
    caplog.set_level("INFO", "prefect_cvat.gateway")
    calls = serve(trk=Tracking(lives=1))
    states = calls.from_page("trk", shapes=[BOX, BOX])["states"]
    for seed in (1, 2, 3):
        answer = calls.from_page("trk", picture(seed=seed), shapes=[None, None], states=states)
        assert answer["shapes"] == 2 * [{"type": "rectangle", "points": [3, 3, 12, 13]}]
        assert answer["states"] == states
    assert "2 lost objects, at their last known place" in caplog.text


def test_shape_is_clipped_at_the_edge(serve):
    calls = serve(trk=Tracking())
    states = calls.from_page("trk", shapes=[{"type": "rectangle", "points": [50, 40, 63.5, 47.5]}])["states"]
    answer = calls.from_page("trk", shapes=[None], states=states)
    assert answer["shapes"][0]["points"] == [52, 41, 64, 48]


def test_image_is_prepared_once_for_all_shapes_and_calls(serve):
    function = Tracking()
    calls = serve(trk=function)
    states = calls.from_page("trk", shapes=[BOX, TRIANGLE])["states"]
    calls.from_page("trk", shapes=[BOX])
    calls.from_page("trk", shapes=[None, None], states=states)
    assert function.prepared == 1


@pytest.mark.parametrize("state", ["unknown", "", {"n": 1}, None, 7])
def test_unknown_state_is_refused(serve, state):
    calls = serve(trk=Tracking())
    known = calls.from_page("trk", shapes=[BOX])["states"]
    status, reason = calls.refused("trk", shapes=[None, None], states=[*known, state])
    assert status == 409
    assert reason == "1 of 2 objects are not tracked here (any more): begin to track them again"


def test_state_of_another_function_is_refused(serve):
    calls = serve(trk=Tracking(), other=Tracking())
    states = calls.from_page("trk", shapes=[BOX])["states"]
    assert calls.refused("other", shapes=[None], states=states)[0] == 409


def test_oldest_objects_are_forgotten(serve):
    calls = serve(GatewayConfiguration(port=0, max_tracks=3), trk=Tracking())
    states = [calls.from_page("trk", shapes=[BOX])["states"][0] for _ in range(4)]
    calls.from_page("trk", shapes=[None] * 3, states=states[1:])
    assert calls.refused("trk", shapes=[None], states=states[:1])[0] == 409


def test_objects_are_forgotten_after_a_time(serve):
    calls = serve(GatewayConfiguration(port=0, track_minutes=1e-6), trk=Tracking())
    states = calls.from_page("trk", shapes=[BOX])["states"]
    assert calls.refused("trk", shapes=[None], states=states)[0] == 409


def test_image_of_another_size_is_refused(serve):
    calls = serve(trk=Tracking())
    states = calls.from_page("trk", shapes=[BOX])["states"]
    status, reason = calls.refused("trk", picture(32, 24), shapes=[None], states=states)
    assert status == 400
    assert "32x24" in reason
    assert "64x48" in reason


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([{"type": "mask", "points": [0, 4, 1, 1, 2, 2]}], "the function follows polygon, rectangle"),
        ([{"type": "rectangle", "points": [1, 2, 3]}], "a rectangle has 3 numbers"),
        ([{"type": "rectangle", "points": [1, 2, 3, "4"]}], "a list of numbers"),
        ([{"type": "rectangle"}], "a list of numbers"),
        ([[1, 2, 3, 4]], "shapes with type and points"),
        ("all", "shapes with type and points"),
    ],
)
def test_invalid_shapes_are_refused(serve, shapes, reason):
    status, said = serve(trk=Tracking()).refused("trk", shapes=shapes, states=[])
    assert status == 400
    assert reason in said
