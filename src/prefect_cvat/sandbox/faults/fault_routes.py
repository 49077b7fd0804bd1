"""Routes to set faults from outside the process. They are not part of CVAT's API and need no login."""

from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefect_cvat.sandbox.faults.active_faults import Faults
from prefect_cvat.sandbox.faults.rules import FaultPlan


def fault_routes(faults: Faults) -> list[Route]:
    """The routes of /sandbox/faults and /sandbox/pending."""

    async def read(_request: Request) -> Response:
        return JSONResponse(_state(faults))

    async def replace(request: Request) -> Response:
        try:
            plan = FaultPlan.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse(_errors_by_field(error), status_code=400)
        faults.use(plan)
        return JSONResponse(_state(faults))

    async def clear(_request: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    async def pending(_request: Request) -> Response:
        return JSONResponse({"pending": faults.pending})

    return [
        Route("/sandbox/faults", read, methods=["GET"]),
        Route("/sandbox/faults", replace, methods=["PUT"]),
        Route("/sandbox/faults", clear, methods=["DELETE"]),
        Route("/sandbox/pending", pending, methods=["GET"]),
    ]


def _state(faults: Faults) -> dict[str, Any]:
    log = [entry.model_dump(mode="json") for entry in faults.log()]
    return {**faults.plan.model_dump(mode="json"), "pending": faults.pending, "log": log}


def _errors_by_field(error: ValidationError) -> dict[str, list[str]]:
    """The errors by field, such as `rules.0.probability`."""
    errors: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_context=False):
        place = [str(part) for part in problem["loc"]]
        # After `fault` pydantic names the kind, which is not a field.
        if len(place) > 3 and place[2] == "fault":
            del place[3]
        errors.setdefault(".".join(place) or "body", []).append(problem["msg"])
    return errors
