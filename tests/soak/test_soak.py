"""The soak in short: `make soak` plays many more schedules, `soak.py --mutations` all mutations."""

from collections import Counter

import pytest

from soak.command import keys_of, soak
from soak.mutations import MUTATIONS
from soak.schedule import schedule

NUMBERS = [*range(12)]


def test_no_annotation_is_lost_duplicated_or_changed_under_faults_kills_and_concurrent_edits():
    keys = keys_of(1, NUMBERS)
    assert {schedule(key).kind for key in keys} == {"annotate", "track", "follow", "refine", "undo"}
    outcomes = list(soak(keys, workers=5))
    assert [(outcome.key, problem) for outcome in outcomes for problem in outcome.problems] == []
    assert len(outcomes) == len(keys)
    assert sum((outcome.faults for outcome in outcomes), Counter()).total() > 10
    assert sum(outcome.kills for outcome in outcomes) > 0
    assert sum(outcome.deeds for outcome in outcomes) > 0


def test_schedule_depends_only_on_its_key():
    assert schedule("1/7") == schedule("1/7")
    assert schedule("1/7") != schedule("1/8")


@pytest.mark.parametrize(
    "mutation", ["jobs-are-not-verified", "all-sources-are-auto", "missing-is-overlooked"]
)
def test_soak_detects_mutations(mutation):
    # kills and faults fall as the machine is quick or slow: one of these schedules notices
    assert any(
        outcome.problems
        for key in MUTATIONS[mutation].noticed_by
        for outcome in soak([key], workers=1, mutation=mutation)
    )
