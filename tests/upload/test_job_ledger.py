"""The ledger of a job without a server: each annotation is stored once, regardless of the fate of a request."""

import json
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_cvat.annotations.request_bodies import serialize
from prefect_cvat.exceptions import StorageError
from prefect_cvat.upload import annotation_files
from prefect_cvat.upload.job_ledger import JobLedger


class Job:
    """The annotations of a server, and its pending requests."""

    def __init__(self, xs):
        self.on_server = []
        self.late = []
        self.next_id = 1
        self.store([shape(x) for x in xs])

    def store(self, shapes):
        stored = [("shapes", {**each, "id": self.next_id + i}) for i, each in enumerate(shapes)]
        self.next_id += len(stored)
        self.on_server += stored
        return stored

    def remove(self, ids):
        self.on_server = [item for item in self.on_server if item[1]["id"] not in ids]

    def xs(self):
        return Counter(shape["points"][0] for _, shape in self.on_server)


def shape(x, source="auto"):
    return {"type": "rectangle", "frame": 0, "label_id": 1, "source": source, "points": [x, 0, 9, 9]}


def new_shape(x):
    return serialize(shape(x))


def body_of(annotation):
    return json.loads(annotation.body.json)


@contextmanager
def ledger_of(job, **options):
    with tempfile.TemporaryDirectory() as folder:
        ledger = JobLedger(Path(folder), 1, ["auto"], {}, **options)
        ledger.read_baseline(job.on_server, lambda _: False)
        yield ledger


def send_all(ledger, job, unsent, fates):
    """Send two at a time until nothing is left; `fates` says what happens to each request."""
    while unsent:
        part = unsent[:2]
        request = ledger.pending_request(part, unsent)
        shapes = [body_of(each) for each in part]
        match next(fates, "answered"):
            case "answered":
                ledger.note_added(ledger.stored(job.store(shapes)))
                del unsent[: len(part)]
                continue
            case "stored":
                job.store(shapes)
            case "late":
                job.late += shapes
        created = ledger.find_created(job.on_server, request)
        ledger.note_added(created)
        ledger.note_created(created, request)
        if len(created) < len(part):
            ledger.abandon(request)


XS = st.lists(st.integers(1, 3), max_size=5)
FATES = st.lists(st.sampled_from(["answered", "stored", "lost", "late"]), max_size=8)


@settings(deadline=None)  # they write files
@given(before=XS, parts=st.lists(XS, min_size=1, max_size=3), fates=FATES, data=st.data())
def test_resending_absent_annotations_stores_each_once(before, parts, fates, data):
    job = Job(before)
    with ledger_of(job) as ledger:
        remaining = iter(fates)
        for xs in parts:
            ledger.want(map(new_shape, xs))
            send_all(ledger, job, ledger.unsent, remaining)
        job.store(job.late)
        ids = [each["id"] for _, each in job.on_server]
        lost = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
        job.remove(lost)

        wanted = Counter(x for xs in parts for x in xs)
        result = ledger.compare(reversed(job.on_server))  # in any order
        missing = [body_of(each) for each in ledger.resend(result.absent)]
        assert Counter(each["points"][0] for each in missing) == wanted - job.xs()
        ledger.note_added(ledger.stored(job.store(missing)))
        result = ledger.compare(job.on_server)
        assert result.absent == []
        # late annotations may be another run's: reported, and resolved by the next run
        assert result.doubled_by_others <= len(job.late)
        assert result.added + result.already_there == wanted.total()
        job.remove({number for _, number, _ in (*result.surplus, *result.duplicates_before)})

        not_wanted = Counter(
            each["points"][0]
            for _, each in job.on_server
            if each["id"] <= len(before) and each["points"][0] not in wanted
        )
        assert job.xs() >= wanted + not_wanted
        assert (job.xs() - wanted - not_wanted).total() == result.doubled_by_others


@settings(deadline=None)  # they write files
@given(before=XS, xs=XS, fates=FATES, others=XS)
def test_annotations_created_by_requests_of_the_run_are_its_own(before, xs, fates, others):
    job = Job(before)
    with ledger_of(job) as ledger:
        between = job.store([shape(x) for x in others])  # of another run, after the baseline
        ledger.newest["shapes"] = job.next_id - 1
        ledger.want(map(new_shape, xs))
        send_all(ledger, job, ledger.unsent, iter(fates))
        job.store(job.late)
        is_own = ledger.own_annotations()
        own = {each["id"] for kind, each in job.on_server if is_own(kind, each)}
        assert own == set(range(len(before) + len(between) + 1, job.next_id))


def test_changed_annotation_is_not_own_annotation():
    job = Job([])
    with ledger_of(job) as ledger:
        ledger.want([new_shape(1), new_shape(2)])
        send_all(ledger, job, ledger.unsent, iter(()))
        job.on_server[0][1]["points"] = [5, 5, 6, 6]
        is_own = ledger.own_annotations()
        assert [is_own(kind, each) for kind, each in job.on_server] == [False, True]
        assert ledger.compare(job.on_server).absent == []


def test_ignores_equal_annotations_of_other_sources():
    job = Job([])
    job.store([shape(1, source="manual")])
    with ledger_of(job) as ledger:
        unsent = ledger.want([new_shape(1)])
        assert len(unsent) == 1
        job.store([shape(1, source="semi-auto")])
        assert ledger.find_created(job.on_server, ledger.pending_request(unsent, unsent)) == []
        assert ledger.reused == 0


def test_refined_mask_matches_its_detection():
    mask = {"type": "mask", "frame": 0, "label_id": 1, "source": "auto", "points": [0, 4, 1, 1, 2, 2]}
    job = Job([])
    job.store([mask, {**mask, "source": "manual", "frame": 1}, {**mask, "label_id": 2}])
    box = {"type": "rectangle", "frame": 0, "label_id": 1, "source": "auto", "points": [0, 0, 4, 4]}
    with ledger_of(job, recognizes_refined=True) as ledger:
        detected = [box, {**box, "frame": 1}, {**box, "label_id": 2}, {**box, "points": [0, 0, 4, 5]}]
        unsent = [body_of(each) for each in ledger.want(map(serialize, detected))]
        # a manual mask does not count, and one mask matches one box
        assert unsent == [detected[1], detected[3]]
        ledger.note_added(ledger.stored(job.store(unsent)))
        job.remove({1})
        result = ledger.compare(job.on_server)
        assert [body_of(each) for each in ledger.resend(result.absent)] == [box]


def test_refined_mask_matches_its_detection_after_the_disk_was_full_once(monkeypatch):
    mask = {"type": "mask", "frame": 0, "label_id": 1, "source": "auto", "points": [0, 4, 1, 1, 2, 2]}
    job = Job([])
    job.store([mask])
    box = {"type": "rectangle", "frame": 0, "label_id": 1, "source": "auto", "points": [0, 0, 4, 4]}
    append, failures = annotation_files._append, []

    def fail_once(file, data):
        if file.path.name.endswith("-reused") and not failures:
            failures.append(file)
            raise StorageError("the disk is full")
        append(file, data)

    monkeypatch.setattr(annotation_files, "_append", fail_once)
    with ledger_of(job, recognizes_refined=True) as ledger:
        with pytest.raises(StorageError):
            ledger.want([serialize(box)])
        assert ledger.want([serialize(box)]) == []
