"""Routes to control the sandbox from outside its process. They are not part of CVAT's API. No login."""

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_cvat.sandbox.faults.active_faults import Faults
from prefect_cvat.sandbox.faults.fault_routes import fault_routes
from prefect_cvat.sandbox.request_counts import RequestCounts
from prefect_cvat.sandbox.slowness.figures import Slowness
from prefect_cvat.sandbox.state import State


class ControlMiddleware:
    """Answers requests to /sandbox/, and passes all others on.

    Args:
        app: The application.
        state: The state of the application.
        faults: The faults to inject.
        counts: The number of requests.
    """

    def __init__(self, app: ASGIApp, state: State, faults: Faults, counts: RequestCounts) -> None:
        self._app = app
        self._control = Starlette(
            routes=[*fault_routes(faults), *_slow_routes(state), *_count_routes(counts)]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan of the server."""
        is_control = scope["type"] == "http" and scope["path"].startswith("/sandbox/")
        await (self._control if is_control else self._app)(scope, receive, send)


def _slow_routes(state: State) -> list[Route]:
    async def read(_request: Request) -> Response:
        return JSONResponse(state.slow.slowness.model_dump(mode="json"))

    async def replace(request: Request) -> Response:
        try:
            state.slow.set(Slowness.model_validate_json(await request.body()))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
            errors = {".".join(map(str, problem["loc"])) or "body": [problem["msg"]] for problem in problems}
            return JSONResponse(errors, status_code=400)
        return await read(request)

    async def forget_chunks(_request: Request) -> Response:
        await run_in_threadpool(state.forget_chunks)
        return Response(status_code=204)

    return [
        Route("/sandbox/slowness", read, methods=["GET"]),
        Route("/sandbox/slowness", replace, methods=["PUT"]),
        Route("/sandbox/chunks", forget_chunks, methods=["DELETE"]),
    ]


def _count_routes(counts: RequestCounts) -> list[Route]:
    async def read(_request: Request) -> Response:
        return JSONResponse({"total": counts.total, "by_route": counts.by_route})

    async def clear(_request: Request) -> Response:
        counts.clear()
        return Response(status_code=204)

    return [
        Route("/sandbox/requests", read, methods=["GET"]),
        Route("/sandbox/requests", clear, methods=["DELETE"]),
    ]
