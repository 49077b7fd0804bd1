"""The account of a job on its own: whatever becomes of what is sent, in the end each stands there once."""

import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_cvat.upload.job_ledger import JobAccount


class Job:
    """What a server holds, and what it has yet to carry out."""

    def __init__(self, xs):
        self.standing = []
        self.late = []
        self.next_id = 1
        self.store([shape(x) for x in xs])

    def store(self, shapes):
        stored = [("shapes", {**each, "id": self.next_id + i}) for i, each in enumerate(shapes)]
        self.next_id += len(stored)
        self.standing += stored
        return stored

    def remove(self, ids):
        self.standing = [item for item in self.standing if item[1]["id"] not in ids]

    def xs(self):
        return Counter(shape["points"][0] for _, shape in self.standing)


def shape(x, source="auto"):
    return {"type": "rectangle", "frame": 0, "label_id": 1, "source": source, "points": [x, 0, 9, 9]}


@contextmanager
def account_of(job, **options):
    with tempfile.TemporaryDirectory() as folder:
        account = JobAccount(Path(folder), 1, ["auto"], {}, **options)
        account.take_baseline(job.standing, lambda _: False)
        yield account


def send_all(account, job, waiting, fates):
    """Send two at a time until nothing waits; what `fates` says becomes of each request."""
    while waiting:
        part = waiting[:2]
        write = account.pending_write(part, waiting)
        shapes = [each for _, each in part]
        match next(fates, "answered"):
            case "answered":
                account.note_added(account.stored(job.store(shapes)))
                del waiting[: len(part)]
                continue
            case "stored":
                job.store(shapes)
            case "late":
                job.late += shapes
        arrived = account.find_arrived(job.standing, write)
        account.note_added(arrived)
        account.take_arrived(arrived, write)
        if len(arrived) < len(part):
            account.give_up(write)


XS = st.lists(st.integers(1, 3), max_size=5)
FATES = st.lists(st.sampled_from(["answered", "stored", "lost", "late"]), max_size=8)


@settings(deadline=None)  # they write files
@given(before=XS, parts=st.lists(XS, min_size=1, max_size=3), fates=FATES, data=st.data())
def test_in_the_end_as_many_stand_there_as_are_wanted(before, parts, fates, data):
    job = Job(before)
    with account_of(job) as account:
        remaining = iter(fates)
        for number, xs in enumerate(parts):
            waiting = account.waiting(number, map(shape, xs))
            send_all(account, job, waiting, remaining)
            account.done(number)
        job.store(job.late)
        ids = [each["id"] for _, each in job.standing]
        lost = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
        job.remove(lost)

        wanted = Counter(x for xs in parts for x in xs)
        result = account.compare(reversed(job.standing))  # in any order
        missing = account.lost(result.absent)
        assert Counter(each["points"][0] for _, each in missing) == wanted - job.xs()
        account.note_added(account.stored(job.store([each for _, each in missing])))
        result = account.compare(job.standing)
        assert result.absent == []
        # what comes after all may be another run's: it is told, and settled by the next run
        assert result.doubled_by_others <= len(job.late)
        assert result.added + result.already_there == wanted.total()
        job.remove({number for _, number, _ in (*result.surplus, *result.doubled_before)})

        not_wanted = Counter(
            each["points"][0]
            for _, each in job.standing
            if each["id"] <= len(before) and each["points"][0] not in wanted
        )
        assert job.xs() >= wanted + not_wanted
        assert (job.xs() - wanted - not_wanted).total() == result.doubled_by_others


@settings(deadline=None)  # they write files
@given(before=XS, xs=XS, fates=FATES, others=XS)
def test_what_is_the_own_work_of_a_run_is_what_the_server_gave_ids_to(before, xs, fates, others):
    job = Job(before)
    with account_of(job) as account:
        between = job.store([shape(x) for x in others])  # of another run, after the baseline
        account.newest["shapes"] = job.next_id - 1
        send_all(account, job, account.waiting("all", map(shape, xs)), iter(fates))
        job.store(job.late)
        is_own = account.own()
        own = {each["id"] for kind, each in job.standing if is_own(kind, each)}
        assert own == set(range(len(before) + len(between) + 1, job.next_id))


def test_what_somebody_has_changed_is_not_own_work_any_more():
    job = Job([])
    with account_of(job) as account:
        send_all(account, job, account.waiting("all", [shape(1), shape(2)]), iter(()))
        job.standing[0][1]["points"] = [5, 5, 6, 6]
        is_own = account.own()
        assert [is_own(kind, each) for kind, each in job.standing] == [False, True]
        assert account.compare(job.standing).absent == []


def test_what_is_of_another_source_is_neither_taken_nor_counted():
    job = Job([])
    job.store([shape(1, source="manual")])
    with account_of(job) as account:
        waiting = account.waiting("all", [shape(1)])
        assert len(waiting) == 1
        job.store([shape(1, source="semi-auto")])
        assert account.find_arrived(job.standing, account.pending_write(waiting, waiting)) == []
        assert account.reused == 0


def test_what_a_machine_has_refined_stands_for_what_it_was_made_of():
    mask = {"type": "mask", "frame": 0, "label_id": 1, "source": "auto", "points": [0, 4, 1, 1, 2, 2]}
    job = Job([])
    job.store([mask, {**mask, "source": "manual", "frame": 1}, {**mask, "label_id": 2}])
    box = {"type": "rectangle", "frame": 0, "label_id": 1, "source": "auto", "points": [0, 0, 4, 4]}
    with account_of(job, recognizes_refined=True) as account:
        detected = [box, {**box, "frame": 1}, {**box, "label_id": 2}, {**box, "points": [0, 0, 4, 5]}]
        waiting = account.waiting("all", detected)
        # a human's mask is not of a machine, and one mask stands for one box
        assert [each for _, each in waiting] == [detected[1], detected[3]]
        account.note_added(account.stored(job.store([each for _, each in waiting])))
        job.remove({1})
        result = account.compare(job.standing)
        assert [each for _, each in account.lost(result.absent)] == [box]
