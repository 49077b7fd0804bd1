"""The account of a job on its own: whatever becomes of what is sent, in the end each stands there once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.job_account import JobAccount


class Job:
    """What a server holds, and what it has yet to carry out."""

    def __init__(self, xs):
        self.standing = []
        self.late = []
        self.store([shape(x) for x in xs])

    def store(self, shapes):
        stored = [("shapes", {**each, "id": len(self.standing) + i}) for i, each in enumerate(shapes, 1)]
        self.standing += stored
        return stored

    def xs(self):
        return Counter(shape["points"][0] for _, shape in self.standing)


def shape(x, source="auto"):
    return {"type": "rectangle", "frame": 0, "label_id": 1, "source": source, "points": [x, 0, 9, 9]}


def account_of(job):
    account = JobAccount(["auto"], {})
    account.take_baseline(job.standing)
    return account


def send_all(account, job, waiting, fates):
    """Send two at a time until nothing waits; what `fates` says becomes of each request."""
    while waiting:
        part = waiting[:2]
        shapes = [each for _, each in part]
        match next(fates, "answered"):
            case "answered":
                account.remember_ids(account.stored(job.store(shapes)))
                account.written(part)
                del waiting[: len(part)]
                continue
            case "stored":
                job.store(shapes)
            case "late":
                job.late += shapes
        account.remember_ids(account.find_arrived(job.standing))


XS = st.lists(st.integers(1, 3), max_size=5)
FATES = st.lists(st.sampled_from(["answered", "stored", "lost", "late"]), max_size=8)


@given(before=XS, parts=st.lists(XS, min_size=1, max_size=3), fates=FATES)
def test_in_the_end_as_many_stand_there_as_are_wanted(before, parts, fates):
    job = Job(before)
    account = account_of(job)
    remaining = iter(fates)
    for number, xs in enumerate(parts):
        waiting = account.waiting(number, map(shape, xs))
        send_all(account, job, waiting, remaining)
        account.done(number)
    job.store(job.late)

    wanted = account.wanted()
    found = Counter(account.digest(each) for _, each in job.standing)
    found = Counter({digest: count for digest, count in found.items() if digest in wanted})
    surplus = account.find_surplus(reversed(job.standing), found - wanted)  # in any order
    gone = {each["id"] for _, each in surplus.goes} | {number for _, number in surplus.of_before}
    job.standing = [item for item in job.standing if item[1]["id"] not in gone]

    asked_for = Counter(x for xs in parts for x in xs)
    not_asked_for = Counter({x: count for x, count in Counter(before).items() if x not in asked_for})
    assert job.xs() == asked_for + not_asked_for
    of_before = Counter(each["points"][0] for _, each in job.standing if each["id"] <= len(before))
    assert of_before == (Counter(before) & asked_for) + not_asked_for  # those of before are the last to go


@given(before=XS, xs=XS, fates=FATES)
def test_what_is_picked_to_be_undone_is_all_that_was_added(before, xs, fates):
    job = Job(before)
    account = account_of(job)
    send_all(account, job, account.waiting("all", map(shape, xs)), iter(fates))
    job.store(job.late)
    picked = {each["id"] for _, each in account.pick_added(job.standing)}
    assert picked == set(range(len(before) + 1, len(job.standing) + 1))


def test_what_is_of_another_source_is_neither_taken_nor_counted():
    job = Job([])
    job.store([shape(1, source="manual")])
    account = account_of(job)
    waiting = account.waiting("all", [shape(1)])
    assert len(waiting) == 1
    job.store([shape(1, source="semi-auto")])
    assert account.find_arrived(job.standing) == []
    assert account.already_there == 0
    assert account.pick_added(job.standing) == []


def test_when_the_writes_are_forgotten_what_was_added_is_still_known_by_its_id():
    job = Job([1])
    account = account_of(job)
    waiting = account.waiting("all", [shape(1), shape(2)])
    send_all(account, job, waiting, iter(()))
    account.forget()
    job.store([shape(2)])  # somebody else's
    assert account.may_have_added
    assert [each["id"] for _, each in account.pick_added(job.standing)] == [2]
