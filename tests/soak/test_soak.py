"""The soak in short; `make soak` plays many more schedules."""

from collections import Counter

import pytest

from soak import soak


def test_uploads_are_exactly_once_under_faults_and_kills():
    outcomes = list(soak.soak(soak.keys_of(1, range(16)), workers=5))
    assert [(outcome.key, problem) for outcome in outcomes for problem in outcome.problems] == []
    assert len(outcomes) == 16
    assert sum((outcome.faults for outcome in outcomes), Counter()).total() > 10
    assert sum(outcome.kills for outcome in outcomes) > 0


@pytest.mark.parametrize(
    ("broken", "number"), [("no-verifying", 1), ("manual-is-auto", 3), ("no-waiting", 2)]
)
def test_the_soak_notices_what_is_broken(broken, number):
    [outcome] = soak.soak(soak.keys_of(1, [number]), workers=1, broken=broken)
    assert outcome.problems
