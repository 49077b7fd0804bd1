"""One function that the gateway serves: its record, its loading at the first call, and its calls."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from prefect_cvat.auto_annotation.function_calls import close_function
from prefect_cvat.exceptions import BadFunctionError, DeviceError, FunctionLoadError, PrefectCvatError
from prefect_cvat.gateway.calls import DetectorCall
from prefect_cvat.gateway.configuration import ServedFunction
from prefect_cvat.gateway.descriptions import FunctionDescription, describe
from prefect_cvat.gateway.detection_service import DetectionService, Outcome
from prefect_cvat.gateway.function_records import function_record
from prefect_cvat.gateway.function_thread import FunctionThread, Job
from prefect_cvat.gateway.interaction_service import InteractionService
from prefect_cvat.gateway.prepared_images import PreparedImages
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.shown_labels import ShownLabel, label_records, shown_labels
from prefect_cvat.gateway.tracking_service import TrackingService
from prefect_cvat.gateway.tracks import Tracks

__all__ = ["FunctionHost"]

logger = logging.getLogger(__name__)

STUCK_SECONDS = 300.0
"""Calls are refused at once while the function has been busy with one for longer than this."""


class _Service(Protocol):
    @property
    def max_batch(self) -> int: ...
    def run(self, calls: Sequence[Any]) -> list[Outcome]: ...


class FunctionHost:
    """A described function.

    Args:
        entry: Its entry in the configuration.
        description: What is known of it.
        load: Makes the function; called in its thread.
        images: Where prepared images are kept.
        tracks: Where tracked objects are kept.
        port: The port of the gateway.
        digest: Identifies what the function is made of.
        described: Called with the description of the loaded function, which may be newer.
        closes: Whether the function is closed at the end.

    Attributes:
        entry: The argument, or that of `show_as`.
        description: The argument, or that of `describe_as`.
        digest: The argument.
        record: Its record for CVAT, as JSON.
        device_failure: Why its GPU refuses all further calls, if it does.

    Raises:
        ValueError: The label map or the thresholds name a label that it does not have.
    """

    def __init__(
        self,
        entry: ServedFunction,
        description: FunctionDescription,
        load: Callable[[], Any],
        images: PreparedImages,
        tracks: Tracks,
        *,
        port: int,
        digest: str = "",
        described: Callable[[FunctionDescription], None] = lambda _: None,
        closes: bool = True,
    ) -> None:
        self.digest = digest
        self.device_failure: str | None = None
        self._load = load
        self._images = images
        self._tracks = tracks
        self._port = port
        self._described = described
        self._closes = closes
        self._show(entry, description)
        self._is_loading = False
        self._service: _Service | None = None
        self._entry_of_service = entry
        self._function: Any = None
        self._thread = FunctionThread(
            entry.name,
            self._run,
            lambda: 1 if self._service is None else self._service.max_batch,
            self._end,
        )

    @property
    def name(self) -> str:
        """Its id in CVAT."""
        return self.entry.name

    def needs_pixels(self, digest: str) -> bool:
        """Whether the image with this digest will be decoded for a call."""
        return self.description.kind == "detector" or (self, digest) not in self._images

    @contextmanager
    def announced(self) -> Iterator[None]:
        """A call is on its way to `submit`: others wait for it a moment, to run with it."""
        self._thread.announce(1)
        try:
            yield
        finally:
            self._thread.announce(-1)

    def submit(self, call: Any, deadline: float) -> Job:
        """Queue a call.

        Raises:
            Refusal: The function hangs, or has been replaced.
        """
        busy = self._thread.busy_seconds
        if busy > STUCK_SECONDS:
            problem = (
                f"{self.name} has been loading for {busy:.0f} s: try again later"
                if self._is_loading
                else f"{self.name} has not answered for {busy:.0f} s; the gateway must be restarted"
            )
            raise Refusal(503, problem)
        alike = call.threshold if isinstance(call, DetectorCall) else None
        job = Job(call, deadline, alike)
        self._thread.submit(job)
        return job

    def preload(self) -> None:
        """Load the function in its thread, if it is not loaded."""
        self._thread.submit(Job(None, time.monotonic() + 10**9))

    def describe_as(self, description: FunctionDescription) -> None:
        """List the function by a newer description."""
        self._show(self.entry, description)

    def show_as(self, entry: ServedFunction) -> None:
        """Show the function by another entry, with other titles, labels or thresholds. It stays loaded.

        Raises:
            ValueError: As in the constructor; nothing is changed.
        """
        if entry != self.entry:
            self._show(entry, self.description)

    def _show(self, entry: ServedFunction, description: FunctionDescription) -> None:
        record = function_record(entry, description, _shown(entry, description), port=self._port)
        self.record = json.dumps(record).encode()
        self.entry, self.description = entry, description

    def close(self) -> None:
        """Take no more calls; the function is closed after those that it has."""
        self._thread.close()

    def wait_until_closed(self, timeout: float) -> None:
        """Wait until the function is closed, for up to so many seconds: it may hang."""
        self._thread.join(timeout)

    # --- in the thread of the function ---

    def _run(self, batch: Sequence[Job]) -> None:
        try:
            service = self._loaded()
        except (PrefectCvatError, ValueError) as error:
            logger.error("%s cannot be loaded: %s", self.name, error)  # noqa: TRY400 (the message has it all)
            refusal = Refusal.of(self.name, error)
            for job in batch:
                job.answer.set_exception(refusal)
            return
        jobs = [job for job in batch if job.call is not None]
        for job in batch:
            if job.call is None:
                job.answer.set_result(b"")
        if jobs:
            self._answer(jobs, service)

    def _answer(self, jobs: Sequence[Job], service: _Service) -> None:
        begin = time.monotonic()
        try:
            outcomes = service.run([job.call for job in jobs])
        except Refusal as refusal:
            outcomes = [(refusal, Counter()) for _ in jobs]
        except PrefectCvatError as error:
            if isinstance(error, DeviceError):
                self.device_failure = f"{self.name}: its GPU has failed; the gateway must be restarted"
            outcomes = [(error, Counter()) for _ in jobs]
        seconds = time.monotonic() - begin
        for job, (answer, losses) in zip(jobs, outcomes, strict=True):
            if isinstance(answer, bytes):
                self._log(len(jobs), seconds, losses)
                job.answer.set_result(answer)
            elif isinstance(answer, Refusal):
                job.answer.set_exception(answer)
            else:
                logger.error("%s: %s", self.name, answer)
                job.answer.set_exception(
                    Refusal(500, self.device_failure)
                    if self.device_failure
                    else Refusal.of(self.name, answer)
                )

    def _log(self, images: int, seconds: float, losses: Counter[str]) -> None:
        lost = ", ".join(f"{count} {what}" for what, count in losses.items() if count)
        logger.info(
            "%s: %.3f s%s%s",
            self.name,
            seconds,
            f" for {images} images" if images > 1 else "",
            f"; not for CVAT: {lost}" if lost else "",
        )

    def _loaded(self) -> _Service:
        entry = self.entry
        if self._service is not None and self._entry_of_service is entry:
            return self._service
        if self._function is not None:  # it is shown by another entry now
            self._service = self._make_service(self._function, self.description, entry)
            self._entry_of_service = entry
            return self._service
        begin = time.monotonic()
        self._is_loading = True
        try:
            function = self._load()
        finally:
            self._is_loading = False
        try:
            description = describe(function)
            self._service = self._make_service(function, description, entry)
            self._entry_of_service = entry
        except BaseException:
            self._close(function)
            raise
        self._function = function
        logger.info("%s: loaded in %.1f s", self.name, time.monotonic() - begin)
        if description != self.description:
            self._described(description)
        return self._service

    def _make_service(
        self, function: Any, description: FunctionDescription, entry: ServedFunction
    ) -> _Service:
        if description.kind != self.description.kind:
            raise FunctionLoadError(
                f"it is a {description.kind} now, and is listed as a {self.description.kind}: reload the"
                " configuration by SIGHUP"
            )
        if description.kind == "detector":
            try:
                shown = _shown(entry, description)
            except ValueError as error:
                raise BadFunctionError(str(error)) from error
            return DetectionService(function, entry, shown)
        if description.kind == "interactor":
            return InteractionService(function, self, self._images)
        return TrackingService(function, self, self._images, self._tracks)

    def _end(self) -> None:
        self._images.drop(lambda key: isinstance(key, tuple) and key[0] is self)
        self._tracks.drop(lambda track: track.function is self)
        if self._function is not None:
            self._close(self._function)
        self._service = self._function = None

    def _close(self, function: Any) -> None:
        if not self._closes:
            return
        try:
            close_function(function)
        except PrefectCvatError as error:
            logger.warning("%s: %s", self.name, error)


def _shown(entry: ServedFunction, description: FunctionDescription) -> Mapping[int, ShownLabel]:
    """The labels of a detector, as CVAT shows them."""
    if description.kind != "detector":
        for option in ("label_map", "label_thresholds", "conf_threshold"):
            if getattr(entry, option) is not None:
                raise ValueError(f"{option} is for detection functions, and this is a {description.kind}")
        return {}
    shown = shown_labels(description.labels, entry.label_map)
    label_records(description.labels, shown)  # two labels of one name may not go together
    names = {label.name for label in description.labels}
    if unknown := sorted((entry.label_thresholds or {}).keys() - names):
        raise ValueError(f"label_thresholds names label {unknown[0]!r}, which the function does not have")
    return shown
