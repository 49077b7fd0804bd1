"""The ASGI middleware that injects faults."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_cvat.sandbox.accounts.authentication import expire_token, has_expiring_credentials
from prefect_cvat.sandbox.api.handler_fault import SCOPE_KEY, HandlerFault
from prefect_cvat.sandbox.breakable_connection import Connection, connection_of
from prefect_cvat.sandbox.faults.active_faults import Faults, Injected
from prefect_cvat.sandbox.faults.kinds import (
    Bandwidth,
    Corrupt,
    ExpireToken,
    Fault,
    LateCommit,
    Latency,
    Reset,
    StaleRead,
    Status,
    StorePart,
    Throttle,
    Truncate,
    When,
)
from prefect_cvat.sandbox.faults.responses import (
    FaultResponse,
    corrupted,
    failed,
    pieces,
    throttled,
    truncated,
)
from prefect_cvat.sandbox.faults.rules import Injection, RequestFacts
from prefect_cvat.sandbox.state import State

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _ReadRequest:
    """A request with its whole body, so that it can be handled after its client has disconnected."""

    facts: RequestFacts
    scope: Scope
    body: bytes
    entries: tuple[Injected, ...]


class FaultMiddleware:
    """Wraps the application and injects faults into requests to /api/. Needs `BreakableProtocol`.

    Args:
        app: The application.
        state: The state of the application, for faults that expire tokens or read old states.
        faults: The faults to inject.
    """

    def __init__(self, app: ASGIApp, state: State, faults: Faults) -> None:
        self._app = app
        self._state = state
        self._faults = faults
        self._ending = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan of the server."""
        self._state.database.keep_snapshots_for(self._faults.longest_stale_read)
        if scope["type"] == "lifespan":
            await self._handle_lifespan(receive, send)
        elif not self._faults.active or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
        else:
            facts = _facts(scope)
            injections, entries = self._faults.decide(facts)
            if injections:
                await self._inject(facts, injections, tuple(entries), scope, receive, send)
            else:
                await self._app(scope, receive, send)

    def end(self) -> None:
        """End all injected delays and run late commits now. Thread-safe."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _handle_lifespan(self, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._ending.set()
        while self._late:
            await asyncio.wait(self._late)
        await send({"type": "lifespan.shutdown.complete"})

    async def _inject(
        self,
        facts: RequestFacts,
        injections: tuple[Injection, ...],
        entries: tuple[Injected, ...],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        with self._faults.in_progress():
            body = await _read(receive)
            if body is None:
                return
            scope = {**scope, SCOPE_KEY: _handler_fault(injections)}
            request = _ReadRequest(facts=facts, scope=scope, body=body, entries=entries)
            await self._sleep(_latency(injections, "before"))
            answer = await self._answer(request, _exclusive_fault(injections))
        await self._sleep(_latency(injections, "after"))
        connection = connection_of(scope)
        if answer is None:
            connection.reset()
        else:
            await self._send(answer, _bandwidth(injections), connection, send)
        if connection.closed:
            # uvicorn logs an error if the application returns before uvicorn has noticed the disconnect.
            while (await receive())["type"] != "http.disconnect":
                pass

    async def _send(
        self, answer: FaultResponse, bytes_per_second: int | None, connection: Connection, send: Send
    ) -> None:
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        for piece, seconds in pieces(answer.body, bytes_per_second):
            if connection.closed:
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._sleep(seconds)
        if answer.ends_early:
            connection.close()
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, request: _ReadRequest, fault: Fault | None) -> FaultResponse | None:
        """The response for the client; None for a TCP reset."""
        match fault:
            case Throttle():
                return throttled(request.facts, fault.retry_after)
            case Status():
                if fault.when == "after":
                    await self._forward(request)
                return failed(fault.status)
            case Reset():
                if fault.when == "after":
                    await self._forward(request)
                return None
            case Truncate():
                return truncated(await self._forward(request))
            case Corrupt():
                return corrupted(await self._forward(request))
            case LateCommit():
                self._forward_late(request, fault.seconds + fault.delay)
                await self._sleep(fault.seconds)
                return failed(504) if fault.answer == 504 else None
            case ExpireToken():
                headers = Headers(scope=request.scope)
                await run_in_threadpool(expire_token, self._state.database, headers)
        return await self._forward(request)

    async def _forward(self, request: _ReadRequest) -> FaultResponse:
        """Pass the request to the application and collect its response."""
        start: Message = {}
        body = bytearray()
        unread = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> Message:
            return unread.pop() if unread else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(dict(request.scope), receive, send)
        self._faults.note_answer(request.entries, start["status"])
        return FaultResponse(status=start["status"], headers=tuple(start["headers"]), body=bytes(body))

    def _forward_late(self, request: _ReadRequest, seconds: float) -> None:
        async def forward() -> None:
            try:
                await self._sleep(seconds)
                await self._forward(request)
            except Exception:
                _LOG.exception("%s %s failed late", request.facts.method, request.facts.path)
            finally:
                self._faults.end()

        self._faults.begin()
        task = asyncio.create_task(forward())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until the server stops."""
        if seconds <= 0:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)


def _facts(scope: Scope) -> RequestFacts:
    query = scope["query_string"].decode("latin-1")
    return RequestFacts(
        method=scope["method"],
        path=scope["path"],
        query=query,
        action=parse_qs(query).get("action", [None])[-1],
        has_expiring_credentials=has_expiring_credentials(Headers(scope=scope)),
    )


async def _read(receive: Receive) -> bytes | None:
    """Read the body of a request; None if the client disconnects first."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body.extend(message.get("body", b""))
        if not message.get("more_body", False):
            return bytes(body)


def _latency(injections: Iterable[Injection], when: When) -> float:
    return sum(
        injection.fault.seconds + injection.chance * injection.fault.jitter
        for injection in injections
        if isinstance(injection.fault, Latency) and injection.fault.when == when
    )


def _bandwidth(injections: Iterable[Injection]) -> int | None:
    limits = (one.fault.bytes_per_second for one in injections if isinstance(one.fault, Bandwidth))
    return min(limits, default=None)


def _handler_fault(injections: Iterable[Injection]) -> HandlerFault:
    """The fault inside the handler."""
    fault = HandlerFault()
    for injection in injections:
        match injection.fault:
            case StorePart(share=share):
                fault = HandlerFault(stored_share=share, chance=injection.chance)
            case StaleRead(seconds=seconds):
                fault = HandlerFault(lag=seconds)
    return fault


def _exclusive_fault(injections: Iterable[Injection]) -> Fault | None:
    faults = (one.fault for one in injections if not isinstance(one.fault, Latency | Bandwidth))
    return next(faults, None)
