"""The functions that a gateway serves: those that are described are listed, the others follow."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.gateway.calls import Call
from prefect_cvat.gateway.configuration import GatewayConfiguration, ServedFunction
from prefect_cvat.gateway.description_store import DescriptionStore
from prefect_cvat.gateway.descriptions import FunctionDescription, describe
from prefect_cvat.gateway.function_host import FunctionHost
from prefect_cvat.gateway.function_source import load_served_function, source_digest
from prefect_cvat.gateway.function_thread import Job
from prefect_cvat.gateway.prepared_images import PreparedImages
from prefect_cvat.gateway.refusals import Refusal, Replaced, without_place
from prefect_cvat.gateway.tracks import Tracks

__all__ = ["Functions"]

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 3.0
"""How long the gateway waits at its end for functions to close, in seconds."""


class Functions:
    """The functions of a configuration, and functions that were made already.

    Args:
        configuration: The configuration.
        made: Function objects by their names in CVAT.
        store: The descriptions of functions.
        port: The port of the gateway.

    Raises:
        BadFunctionError: A function that was made has no valid spec.
        ValueError: Two functions have the same name.
    """

    def __init__(
        self,
        configuration: GatewayConfiguration,
        made: Mapping[str, Any],
        store: DescriptionStore,
        *,
        port: int,
    ) -> None:
        self._port = port
        self._store = store
        self._images = PreparedImages(configuration.image_cache_bytes)
        self._tracks = Tracks(
            configuration.max_tracks, configuration.track_bytes, 60 * configuration.track_minutes
        )
        self._made = {name: self._host_of(name, function) for name, function in made.items()}
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[ServedFunction, str]] = {}
        self._hosts: dict[str, FunctionHost] = dict(self._made)
        self._failures: dict[str, str] = {}
        self._generation = 0
        self._list: bytes | None = None
        self._preload = False
        self.configure(configuration)

    # --- for the HTTP server ---

    def record_list(self) -> bytes:
        """The records of all described functions, as JSON."""
        found = self._list
        if found is None:
            with self._lock:
                records = (json_key(name) + host.record for name, host in sorted(self._hosts.items()))
                found = self._list = b"{" + b", ".join(records) + b"}"
        return found

    def host(self, name: str) -> FunctionHost:
        """A function by its name.

        Raises:
            Refusal: There is no such function, or it is not described yet, or cannot be.
        """
        with self._lock:
            host = self._hosts.get(name)
            failure = self._failures.get(name)
            is_known = name in self._entries
        if host is not None:
            return host
        if failure is not None:
            raise Refusal(500, f"{name}: {without_place(failure)}")
        if is_known:
            raise Refusal(503, f"{name} is being read for the first time: try again in a moment")
        raise Refusal(404, f"the gateway has no function {name!r}: reload the page")

    def submit(self, host: FunctionHost, call: Call, deadline: float) -> Job:
        """Queue a call to a function, or to the one that has taken its place meanwhile.

        Raises:
            Refusal: It takes no calls.
        """
        try:
            return host.submit(call, deadline)
        except Replaced:
            newer = self.host(host.name)
            if newer.description.kind != host.description.kind:
                raise
            return newer.submit(call, deadline)

    def problems(self) -> list[str]:
        """What the operator has to do something about."""
        with self._lock:
            hosts, failures = list(self._hosts.values()), dict(self._failures)
        failed = [host.device_failure for host in hosts if host.device_failure is not None]
        return failed + [f"{name}: {without_place(failure)}" for name, failure in failures.items()]

    @property
    def are_described(self) -> bool:
        """Whether each function is listed, or known to be invalid."""
        with self._lock:
            return all(
                name in self._failures or (name in self._hosts and self._hosts[name].digest == digest)
                for name, (_, digest) in self._entries.items()
            )

    # --- changes ---

    def configure(self, configuration: GatewayConfiguration) -> None:
        """Serve the functions of a configuration. What has not changed stays loaded, with its tracks.

        Raises:
            ValueError: A function has the name of one that was made already.
        """
        wanted = {entry.name: (entry, source_digest(entry)) for entry in configuration.functions}
        if taken := sorted(wanted.keys() & self._made.keys()):
            raise ValueError(f"there are two functions named {taken[0]!r}; give each its own name")
        self._preload = configuration.preload
        with self._lock:
            before = dict(self._hosts)
        hosts, failures, unknown = dict(self._made), {}, []
        for name, (entry, digest) in wanted.items():
            try:
                if (host := self._host_with(before.get(name), entry, digest)) is not None:
                    hosts[name] = host
                else:
                    unknown.append(entry)
                    if name in before:  # until the new one is described
                        hosts[name] = before[name]
            except ValueError as error:
                failures[name] = str(error)
                logger.error("%s is not served: %s", name, error)  # noqa: TRY400 (the message has it all)
        with self._lock:
            self._generation += 1
            generation = self._generation
            ended = [host for host in self._hosts.values() if host not in hosts.values()]
            self._hosts, self._entries, self._failures = hosts, wanted, failures
            self._list = None
        for host in ended:
            host.close()
        if unknown:
            threading.Thread(
                target=self._describe, args=(unknown, generation), name="describe", daemon=True
            ).start()
        if self._preload:
            for host in hosts.values():
                host.preload()

    def close(self) -> None:
        """Take no more calls, and close the functions after those that they have."""
        self._store.close()
        with self._lock:
            self._generation += 1
            hosts = list(self._hosts.values())
        for host in hosts:
            host.close()
        deadline = time.monotonic() + CLOSING_SECONDS
        for host in hosts:
            host.wait_until_closed(max(0.0, deadline - time.monotonic()))

    # --- descriptions ---

    def _host_of(self, name: str, function: Any) -> FunctionHost:
        entry = ServedFunction(name=name, function="-")
        return FunctionHost(
            entry,
            describe(function),
            lambda: function,
            self._images,
            self._tracks,
            port=self._port,
            closes=False,
        )

    def _describe(self, entries: list[ServedFunction], generation: int) -> None:
        for entry in entries:
            if self._generation != generation:
                return
            begin = time.monotonic()
            digest = source_digest(entry)
            try:
                description = self._store.known(digest) or self._store.make(entry)
                host = self._new_host(entry, digest, description)
            except (PrefectCvatError, OSError, ValueError) as error:
                self._fail(entry, str(error), generation)
                continue
            logger.info("%s: described in %.1f s", entry.name, time.monotonic() - begin)
            self._add(host, generation)

    def _host_with(
        self, before: FunctionHost | None, entry: ServedFunction, digest: str
    ) -> FunctionHost | None:
        """The function of an entry, which stays if it is made of the same; None if it is not described."""
        if before is not None and before.digest == digest:
            before.show_as(entry)
            return before
        description = self._store.known(digest)
        return None if description is None else self._new_host(entry, digest, description)

    def _new_host(self, entry: ServedFunction, digest: str, description: FunctionDescription) -> FunctionHost:
        return FunctionHost(
            entry,
            description,
            partial(load_served_function, entry),
            self._images,
            self._tracks,
            port=self._port,
            digest=digest,
            described=partial(self._redescribe, entry.name, digest),
        )

    def _add(self, host: FunctionHost, generation: int) -> None:
        """Serve a function in the place of the one that had its name."""
        with self._lock:
            if self._generation != generation:
                return
            before = self._hosts.get(host.name)
            self._hosts[host.name] = host
            self._list = None
        if before is not None:
            before.close()
        if self._preload:
            host.preload()

    def _redescribe(self, name: str, digest: str, description: FunctionDescription) -> None:
        """List a function as it is now: modules that it imports may have changed."""
        self._store.put(digest, description)
        with self._lock:
            host = self._hosts.get(name)
            if host is not None and host.digest == digest:
                host.describe_as(description)
                self._list = None

    def _fail(self, entry: ServedFunction, reason: str, generation: int) -> None:
        with self._lock:
            if self._generation != generation:
                return
            self._failures[entry.name] = reason
            has_another = entry.name in self._hosts
        what = "stays as it was" if has_another else "is not served"
        logger.error("%s %s: %s", entry.name, what, reason)


def json_key(name: str) -> bytes:
    """The beginning of a field in JSON; names consist of letters, digits and signs that need no escape."""
    return f'"{name}": '.encode()
