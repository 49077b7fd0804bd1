"""The HTTP side of the gateway: the part of the API of Nuclio's dashboard that CVAT uses.

CVAT 2.73 shows its users the reason phrase of an answer and drops its body, so errors are said in the reason
phrase. ASGI has no field for it; aiohttp has.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from aiohttp import web
from pydantic import SecretStr

from prefect_cvat.gateway.batch_calls import BatchCalls
from prefect_cvat.gateway.calls import read_call
from prefect_cvat.gateway.function_host import FunctionHost
from prefect_cvat.gateway.functions import Functions
from prefect_cvat.gateway.refusals import Refusal, reason_phrase
from prefect_cvat.gateway.waiting_memory import WaitingMemory
from prefect_cvat.media.untrusted_images import usable_cores
from prefect_cvat.options.gateway_options import GatewayOptions

__all__ = ["HttpServer"]

logger = logging.getLogger(__name__)

READ_SECONDS = 60.0
"""The time within which the body of a call must arrive."""

DEFAULT_TIMEOUT = 120.0
"""How long CVAT waits for an answer, in seconds, unless CVAT_NUCLIO_DEFAULT_TIMEOUT is set."""

MAX_TIMEOUT = 3600.0
"""How long a call is waited for at most, in seconds."""

MAX_WAITING_BYTES = 2**30
"""Maximum memory in bytes of the bodies and images of all calls that wait or run."""

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")

_TO_SET = "CVAT_NUCLIO_FUNCTION_NAMESPACE of CVAT is not the secret of this gateway"
_DIRECT = "set CVAT_NUCLIO_INVOKE_METHOD=dashboard in CVAT: direct calls do not name the function"


class HttpServer:
    """Answers `/api/functions`, `/api/function_invocations` and `/health`.

    Args:
        functions: The functions.
        options: The bounds.
        secret: What CVAT must send as the namespace of functions.
    """

    def __init__(self, functions: Functions, options: GatewayOptions, secret: SecretStr) -> None:
        self._functions = functions
        self._options = options
        self._secret = secret
        self._pool = ThreadPoolExecutor(max(2, usable_cores()), thread_name_prefix="decode")
        self._batch_calls: defaultdict[str, BatchCalls] = defaultdict(BatchCalls)
        self._calls = 0
        self._memory = WaitingMemory(MAX_WAITING_BYTES)

    def app(self) -> web.Application:
        """The application for aiohttp."""
        app = web.Application(middlewares=[_refusals_answered], client_max_size=self._options.max_body_bytes)
        app.router.add_get("/api/functions", self._list)
        app.router.add_get("/api/functions/{name}", self._record)
        app.router.add_post("/api/function_invocations", self._invoke)
        app.router.add_post("/", self._direct)
        app.router.add_get("/health", self._health)
        return app

    def close(self) -> None:
        """Free the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- routes ---

    async def _list(self, request: web.Request) -> web.Response:
        self._check_secret(request)
        return _json(self._functions.record_list())

    async def _record(self, request: web.Request) -> web.Response:
        self._check_secret(request)
        host = self._functions.host(request.match_info["name"])
        self._batch_calls[host.name].record_asked()
        return _json(host.record)

    async def _health(self, _request: web.Request) -> web.Response:
        problems = self._functions.problems()
        status = {"status": "failing" if problems else "ok", "calls": self._calls, "problems": problems}
        return web.json_response(status, status=503 if problems else 200)

    async def _direct(self, _request: web.Request) -> web.Response:
        raise Refusal(400, _DIRECT)

    async def _invoke(self, request: web.Request) -> web.Response:
        seconds = _timeout(request)
        deadline = time.monotonic() + seconds
        self._check_secret(request)
        host = self._functions.host(request.headers.get("x-nuclio-function-name", ""))
        if host.description.kind == "detector" and self._batch_calls[host.name].called():
            logger.warning(
                "%s: CVAT's automatic annotation runs it on a task. It stores no confidence, and one error"
                " ends it; `prefect-cvat annotate` does this better (docs/gateway.md)",
                host.name,
            )
        try:
            with self._counted():
                async with asyncio.timeout(seconds):
                    return _json(await self._answer(request, host, deadline))
        except TimeoutError:
            raise Refusal(504, f"{host.name} has not answered within {seconds:g} s") from None

    # --- a call ---

    async def _answer(self, request: web.Request, host: FunctionHost, deadline: float) -> bytes:
        loop = asyncio.get_running_loop()
        with self._memory.share() as memory:
            with host.announced():
                memory.resize(request.content_length or self._options.max_body_bytes)
                body = await self._read(request)
                call = await loop.run_in_executor(self._pool, read_call, body, host.description)
                del body
                memory.resize(call.image.memory)
                if host.needs_pixels(call.image.digest):
                    await loop.run_in_executor(self._pool, call.image.decode)
                job = self._functions.submit(host, call, deadline)
            try:
                answer: bytes = await asyncio.wrap_future(job.answer)
            except asyncio.CancelledError:  # the caller has gone
                if not job.answer.cancelled():  # the function still has its image
                    memory.keep_until(job.answer, loop)
                raise
            return answer

    async def _read(self, request: web.Request) -> bytes:
        if (request.content_length or 0) > self._options.max_body_bytes:
            raise Refusal(413, _too_large(self._options.max_body_bytes))
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await request.read()
        except TimeoutError:
            raise Refusal(408, "the call did not arrive in time") from None
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(413, _too_large(self._options.max_body_bytes)) from None

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._calls >= self._options.max_calls:
            raise Refusal(503, f"the gateway is busy with {self._calls} calls: try again in a moment")
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def _check_secret(self, request: web.Request) -> None:
        given = request.headers.get("x-nuclio-function-namespace", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._secret.get_secret_value().encode()):
            logger.warning("refused a request from %s: %s", request.remote, _TO_SET)
            raise Refusal(403, _TO_SET)


def _timeout(request: web.Request) -> float:
    """How long CVAT waits, less a moment in which the reason of a time-out still reaches it."""
    given = _SECONDS.fullmatch(request.headers.get("X-Nuclio-Invoke-Timeout", ""))
    seconds = float(given[1]) if given else DEFAULT_TIMEOUT
    return min(max(seconds - 1.0, seconds / 2), MAX_TIMEOUT)


def _too_large(max_bytes: int) -> str:
    return f"the call has more than {max_bytes} bytes, which max_body_bytes of the gateway allows"


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _refusals_answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        reason, status = refusal.reason, refusal.status
    except web.HTTPException:
        raise
    except Exception:
        logger.exception("the gateway has failed to answer %s %s", request.method, request.path)
        reason, status = "the gateway has failed; its log says why", 500
    return web.Response(status=status, reason=reason_phrase(reason), text=reason)
