"""Protections that can be removed, one at a time, to check that the soak detects it.

Each is named after what is left of the run without it. It is taken out in the processes of the runs only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prefect_cvat.cvat.client import Client
from prefect_cvat.records import run_lock
from prefect_cvat.records.record_writer import JobRecord
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.runs.execution import run
from prefect_cvat.runs.execution.job_uploads import JobUploads
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.tracking.track_merger import TrackMerger
from prefect_cvat.upload import replacement, undo_annotations
from prefect_cvat.upload.job_ledger import JobLedger
from prefect_cvat.upload.job_writer import JobWriter
from prefect_cvat.upload.replacement import Replacement
from prefect_cvat.upload.sending import job_sender, task_sender

Json = dict[str, Any]


@dataclass(frozen=True)
class Mutation:
    """A removed protection.

    Attributes:
        take_out: Takes it out of this process.
        noticed_by: Keys of schedules that notice.
    """

    take_out: Callable[[], None]
    noticed_by: tuple[str, ...] = ()


class _EqualToAll(bytes):
    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


def _put(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def _jobs_are_not_verified() -> None:
    def verify(self: Any, _earlier: Any = None) -> None:
        self._send()
        self._is_verified = True

    JobWriter._verify = verify  # type: ignore[method-assign]


def _all_sources_are_auto() -> None:
    originals = {name: getattr(Client, name) for name in ("iter_job_annotations", "iter_task_annotations")}

    def reads(name: str) -> Callable[..., Iterator[tuple[str, Json]]]:
        def read(*args: Any, **options: Any) -> Iterator[tuple[str, Json]]:
            for kind, annotation in originals[name](*args, **options):
                yield kind, {**annotation, "source": "auto"}

        return read

    for name in originals:
        setattr(Client, name, reads(name))


def _what_is_equal_is_taken_back() -> None:
    def own(self: Any) -> Callable[[str, Json], bool]:
        before = self.baseline.all()
        told = set(self._bodies.identities())
        return lambda kind, a: (kind, a["id"]) not in before and self.identity(a) in told

    JobLedger.own_annotations = own  # type: ignore[method-assign, assignment]
    JobLedger.may_have_added = property(lambda _: True)  # type: ignore[assignment, method-assign]


def _baselines_are_taken_late() -> None:
    JobUploads._read_baseline = lambda _: None  # type: ignore[method-assign]


def _what_was_changed_is_replaced() -> None:
    replacement.content_digest = lambda *_: _EqualToAll(12)


def _replacements_are_not_looked_for() -> None:
    verified, select = Replacement.verified, Replacement.select

    def selected(self: Any, on_server: Any, most: int, **known: Any) -> Any:
        return select(self, on_server, most, **known)._replace(gone=0)

    Replacement.verified = lambda self, _missing, doubled: verified(self, (), doubled)  # type: ignore[method-assign, misc]
    Replacement.select = selected  # type: ignore[method-assign]


def _missing_is_overlooked() -> None:
    compare = JobLedger.compare

    def blind(self: Any, on_server: Any) -> Any:
        result = compare(self, on_server)
        result.absent.clear()
        result.unseen = 0
        return result

    JobLedger.compare = blind  # type: ignore[method-assign]


def _doubled_of_before_stays() -> None:
    verified = Replacement.verified
    Replacement.verified = lambda self, missing, _: verified(self, missing, ())  # type: ignore[method-assign, misc]


def _there_is_no_lock() -> None:
    exclusive_run = run_lock.exclusive_run

    @contextlib.contextmanager
    def no_lock(url: str, task_id: int, jobs: Any = None) -> Iterator[RunLock]:
        with exclusive_run(f"{url}/{os.getpid()}", task_id, jobs) as lock:
            yield lock

    run.exclusive_run = undo_annotations.exclusive_run = no_lock  # type: ignore[attr-defined]


def _undoing_takes_what_was_changed() -> None:
    look = undo_annotations._Look.is_ours

    def is_ours(self: Any, key: Any, told: str) -> bool:
        return look(self, key, self._job.added.get(key, told))

    undo_annotations._Look.is_ours = is_ours  # type: ignore[method-assign]


def _undoing_takes_what_is_equal() -> None:
    undo_annotations._Look.is_ours = lambda self, _, told: told in self._job.added.values()  # type: ignore[method-assign]


def _source_shapes_go_first() -> None:
    packs = TrackMerger.packs
    TrackMerger.packs = lambda self, *, with_sources: packs(self, with_sources=not with_sources)  # type: ignore[method-assign, assignment]


def _incomplete_is_green() -> None:
    RunReport.open_ends = property(lambda _: [])  # type: ignore[assignment, method-assign]


def _nothing_is_unknown() -> None:
    for module in (job_sender, task_sender):
        module.seconds_until_certain = lambda *_: None  # type: ignore[attr-defined]


MUTATIONS: dict[str, Mutation] = {
    "": Mutation(lambda: None),
    "jobs-are-not-verified": Mutation(
        _jobs_are_not_verified,
        (
            "1/306",
            "1/363",
            "1/3",
        ),
    ),
    "all-sources-are-auto": Mutation(
        _all_sources_are_auto,
        (
            "1/1",
            "1/2",
        ),
    ),
    "writes-of-the-run-before-are-not-waited-for": Mutation(
        _put(RunLock, "wait_for_earlier_write", lambda *_: None), ("1/1049", "1/499")
    ),
    "nothing-is-unknown": Mutation(
        _nothing_is_unknown,
        (
            "1/20",
            "1/173",
        ),
    ),
    "nothing-is-taken-back": Mutation(_put(JobWriter, "undo", lambda _: None), ("1/41", "1/93", "1/48")),
    "what-is-equal-is-taken-back": Mutation(
        _what_is_equal_is_taken_back,
        (
            "1/93",
            "1/406",
            "1/882",
        ),
    ),
    "baselines-are-taken-late": Mutation(
        _baselines_are_taken_late,
        (
            "2/113",
            "2/217",
            "2/425",
            "2/513",
        ),
    ),
    "what-was-changed-is-replaced": Mutation(
        _what_was_changed_is_replaced,
        (
            "1/58",
            "1/73",
            "1/118",
            "1/177",
        ),
    ),
    "replacements-are-not-looked-for": Mutation(
        _replacements_are_not_looked_for, ("1/651", "1/1134", "1/1199")
    ),
    "missing-is-overlooked": Mutation(
        _missing_is_overlooked,
        ("1/18",),
    ),
    "doubled-of-before-stays": Mutation(
        _doubled_of_before_stays,
        (
            "1/3",
            "1/180",
            "1/265",
        ),
    ),
    "each-spelling-has-a-lock": Mutation(
        _put(run_lock, "server_identity", lambda url: url), ("1/89", "1/278", "1/286", "1/317")
    ),
    "there-is-no-lock": Mutation(
        _there_is_no_lock,
        (
            "1/89",
            "1/278",
            "1/286",
            "1/317",
        ),
    ),
    "undoing-takes-what-was-changed": Mutation(
        _undoing_takes_what_was_changed,
        (
            "1/88",
            "1/67",
            "1/309",
        ),
    ),
    "undoing-takes-what-is-equal": Mutation(
        _undoing_takes_what_is_equal,
        (
            "1/101",
            "1/213",
            "1/34",
        ),
    ),
    "what-is-sent-is-not-recorded": Mutation(
        _put(JobRecord, "sending", lambda *_: None), ("1/43", "1/114", "1/223", "1/256", "1/294")
    ),
    "source-shapes-go-first": Mutation(
        _source_shapes_go_first,
        (
            "1/178",
            "1/52",
            "1/641",
        ),
    ),
    "incomplete-is-green": Mutation(
        _incomplete_is_green,
        (
            "1/19",
            "1/3",
            "1/30",
        ),
    ),
}
