"""Calls the handler of a request and renders what it returns. The checks run in the order of CVAT."""

import dataclasses
import gzip
import logging
from collections.abc import Callable, Mapping

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prefect_cvat.sandbox.accounts.authentication import SAFE_METHODS, authenticate
from prefect_cvat.sandbox.accounts.permissions import requested_workspace
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.content_negotiation import negotiate
from prefect_cvat.sandbox.api.handler_fault import NO_FAULT, SCOPE_KEY
from prefect_cvat.sandbox.api.reply import (
    HTML,
    VND_JSON,
    ApiError,
    Reply,
    common_headers,
    forbidden,
    server_error,
)

Handler = Callable[[Call], Reply]
_LOG = logging.getLogger(__name__)
_GZIP_FROM = 200


class Endpoint:
    """A route, with one handler for each HTTP method.

    Handlers run in threads, so a slow one does not block the others. As in CVAT, a handler also completes
    after its client has disconnected.
    """

    def __init__(self, handlers: Mapping[str, Handler], *, anonymous: bool = False) -> None:
        self._handlers = dict(handlers)
        self._anonymous = anonymous
        if "GET" in handlers:
            self._handlers.setdefault("HEAD", handlers["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope, receive)
        call = Call(
            state=scope["app"].state.sandbox,
            method=request.method,
            path=request.url.path,
            params=request.path_params,
            query=request.query_params,
            headers=request.headers,
            base_url=f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}",
            fault=scope.get(SCOPE_KEY, NO_FAULT),
        )
        slow = call.state.slow
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_files=200_000, max_fields=10_000) as form:
                await slow.work(requests=1)
                reply = await run_in_threadpool(self._answer, dataclasses.replace(call, form=form))
        else:
            body = await request.body()
            await slow.work(requests=1, written=_shapes(call, body))
            reply = await run_in_threadpool(self._answer, dataclasses.replace(call, body=body))
        await slow.wait(reply.delay)
        response = await run_in_threadpool(_render, reply, call)
        read = _shapes(call, reply.content or b"") if call.method == "GET" else 0
        await slow.work(read=read, sent_bytes=len(response.body))
        await response(scope, receive, send)

    def _answer(self, call: Call) -> Reply:
        try:
            return self._dispatch(call)
        except ApiError as error:
            headers = {"WWW-Authenticate": "Token"} if error.status == 401 else {}
            reply = error.reply()
            return dataclasses.replace(reply, headers={**reply.headers, **headers})
        except Exception:
            _LOG.exception("%s %s failed", call.method, call.path)
            return server_error().reply()

    def _dispatch(self, call: Call) -> Reply:
        media_type = negotiate(call.headers.get("accept"))
        call = dataclasses.replace(call, account=authenticate(call))
        if not self._anonymous:
            call.require_account()
        if call.method == "OPTIONS":
            return Reply(json={"name": "prefect-cvat sandbox"}, headers={"Allow": ", ".join(self._handlers)})
        handler = self._handlers.get(call.method)
        if handler is None:
            raise ApiError(405, {"detail": f'Method "{call.method}" not allowed.'})
        if call.account is not None and call.account.read_only and call.method not in SAFE_METHODS:
            raise forbidden()
        if not self._anonymous and _names_organization(call):
            with call.state.database.read() as db:
                requested_workspace(call, db)
        reply = handler(call)
        return _browsable(reply) if media_type == "text/html" and reply.content is None else reply


def _shapes(call: Call, body: bytes) -> int:
    """The number of shapes in a body: each of them, and each part of them, has its frame."""
    is_annotations = call.path.rstrip("/").endswith("/annotations")
    return body.count(b'"frame"') if is_annotations and call.state.slow.slowness.is_slow else 0


def _names_organization(call: Call) -> bool:
    return "x-organization" in call.headers or "org" in call.query or "org_id" in call.query


def _render(reply: Reply, call: Call) -> Response:
    content = to_json(reply.json, inf_nan_mode="constants") if reply.content is None else reply.content
    headers = common_headers() | dict(reply.headers)
    compressible = reply.media_type in (VND_JSON, HTML) and "Content-Range" not in reply.headers
    accepted = call.headers.get("accept-encoding", "")
    if compressible and len(content) >= _GZIP_FROM and "gzip" in accepted:
        content = gzip.compress(content, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    response = Response(content, status_code=reply.status, headers=headers)
    if reply.media_type is not None:
        response.headers["Content-Type"] = reply.media_type
    for cookie in reply.cookies:
        response.headers.append("Set-Cookie", cookie)
    if call.method == "HEAD":
        response.body = b""
    return response


def _browsable(reply: Reply) -> Reply:
    text = to_json(reply.json, indent=2).decode()
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    page = f"<!doctype html><title>prefect-cvat sandbox</title><pre>{escaped}</pre>"
    return dataclasses.replace(reply, content=page.encode(), media_type=HTML, json=None)
