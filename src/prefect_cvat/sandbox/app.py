"""The routes of the sandbox, and its state from start to stop."""

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from prefect_cvat.sandbox.accounts import access_tokens, login, organizations, users
from prefect_cvat.sandbox.annotations import annotation_routes
from prefect_cvat.sandbox.api import about
from prefect_cvat.sandbox.api.reply import NOT_FOUND_PAGE, common_headers
from prefect_cvat.sandbox.endpoint import Endpoint
from prefect_cvat.sandbox.functions import batch_routes, function_routes
from prefect_cvat.sandbox.media import background_requests, chunk_routes, metadata, uploads, validation_layout
from prefect_cvat.sandbox.nuclio import Nuclio
from prefect_cvat.sandbox.pages import ai_tools, task_pages
from prefect_cvat.sandbox.slowness.slow_server import SlowServer
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.storage.database import Database
from prefect_cvat.sandbox.tasks import issues, jobs, labels, projects, tasks
from prefect_cvat.sandbox.webhook_delivery.webhook_sender import WebhookSender
from prefect_cvat.sandbox.webhooks import webhook_routes
from prefect_cvat.sandbox.worker import Worker


def open_state(
    folder: Path,
    user: str,
    password: str,
    webhook_retry_seconds: Sequence[float],
    slow: SlowServer,
    nuclio: Nuclio | None,
) -> State:
    """Open or create the state in a folder, and make sure that the admin can log in."""
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(folder / "sandbox.sqlite3")
    with database.write() as db:
        background_requests.fail_unfinished(db)
        users.ensure_admin(db, user, password)
    sender = WebhookSender(database, webhook_retry_seconds)
    return State(folder=folder, database=database, worker=Worker(), sender=sender, slow=slow, nuclio=nuclio)


def close_state(state: State) -> None:
    """Wait for the background threads and close the database."""
    state.batches.close()
    state.worker.close()
    state.sender.close()
    state.database.close()


def create_app(state: State) -> Starlette:
    """Return the ASGI application, without the middleware that injects faults."""
    app = Starlette(routes=_routes(), exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    app.state.sandbox = state
    return app


def _routes() -> list[Route]:
    table = {
        "auth/access_tokens": Endpoint(
            {"GET": access_tokens.list_access_tokens, "POST": access_tokens.create_access_token}
        ),
        "auth/access_tokens/self": Endpoint({"GET": access_tokens.current_access_token}),
        "auth/access_tokens/{id}": Endpoint({"DELETE": access_tokens.revoke_access_token}),
        "auth/login": Endpoint({"POST": login.login}, anonymous=True),
        "auth/logout": Endpoint({"POST": login.logout}),
        "auth/register": Endpoint({"POST": login.register}, anonymous=True),
        "comments": Endpoint({"GET": issues.list_comments, "POST": issues.create_comment}),
        "comments/{id}": Endpoint({"GET": issues.get_comment}),
        "issues": Endpoint({"GET": issues.list_issues, "POST": issues.create_issue}),
        "issues/{id}": Endpoint(
            {"GET": issues.get_issue, "PATCH": issues.update_issue, "DELETE": issues.delete_issue}
        ),
        "jobs": Endpoint({"GET": jobs.list_jobs, "POST": jobs.create_ground_truth_job}),
        "jobs/{id}": Endpoint({"GET": jobs.get_job, "PATCH": jobs.update_job, "DELETE": jobs.delete_job}),
        "jobs/{id}/data/meta": Endpoint({"GET": metadata.get_job_meta, "PATCH": metadata.update_job_meta}),
        "jobs/{id}/preview": Endpoint({"GET": chunk_routes.get_job_preview}),
        "labels": Endpoint({"GET": labels.list_labels}),
        "labels/{id}": Endpoint(
            {"GET": labels.get_label, "PATCH": labels.update_label, "DELETE": labels.delete_label}
        ),
        "lambda/functions": Endpoint({"GET": function_routes.list_functions}),
        "lambda/functions/{name}": Endpoint(
            {"GET": function_routes.get_function, "POST": function_routes.call_function}
        ),
        "lambda/requests": Endpoint({"GET": batch_routes.list_batches, "POST": batch_routes.start_batch}),
        "lambda/requests/{rq_id:path}": Endpoint(
            {"GET": batch_routes.get_batch, "DELETE": batch_routes.cancel_batch}
        ),
        "organizations": Endpoint(
            {"GET": organizations.list_organizations, "POST": organizations.create_organization}
        ),
        "organizations/{id}": Endpoint({"GET": organizations.get_organization}),
        "projects": Endpoint({"GET": projects.list_projects, "POST": projects.create_project}),
        "projects/{id}": Endpoint(
            {
                "GET": projects.get_project,
                "PATCH": projects.update_project,
                "DELETE": projects.delete_project,
            }
        ),
        "requests": Endpoint({"GET": background_requests.list_requests}),
        "requests/{rq_id:path}": Endpoint({"GET": background_requests.get_request}),
        "server/about": Endpoint({"GET": about.about}, anonymous=True),
        "tasks": Endpoint({"GET": tasks.list_tasks, "POST": tasks.create_task}),
        "tasks/{id}": Endpoint(
            {"GET": tasks.get_task, "PATCH": tasks.update_task, "DELETE": tasks.delete_task}
        ),
        "tasks/{id}/data/meta": Endpoint({"GET": metadata.get_task_meta, "PATCH": metadata.update_task_meta}),
        "tasks/{id}/data/{part}": Endpoint({"PATCH": uploads.patch_part, "HEAD": uploads.head_part}),
        "tasks/{id}/dataset": Endpoint({"GET": tasks.get_dataset}),
        "tasks/{id}/preview": Endpoint({"GET": chunk_routes.get_task_preview}),
        "tasks/{id}/validation_layout": Endpoint({"GET": validation_layout.validation_layout}),
        "users": Endpoint({"GET": users.list_users}),
        "users/self": Endpoint({"GET": users.current_user}),
        "users/{id}": Endpoint({"GET": users.get_user}),
        "webhooks": Endpoint({"GET": webhook_routes.list_webhooks, "POST": webhook_routes.create_webhook}),
        "webhooks/events": Endpoint({"GET": webhook_routes.list_events}),
        "webhooks/{id}": Endpoint(
            {
                "GET": webhook_routes.get_webhook,
                "PUT": webhook_routes.replace_webhook,
                "PATCH": webhook_routes.update_webhook,
                "DELETE": webhook_routes.delete_webhook,
            }
        ),
        "webhooks/{id}/deliveries": Endpoint({"GET": webhook_routes.list_deliveries}),
        "webhooks/{id}/deliveries/{delivery_id:int}": Endpoint({"GET": webhook_routes.get_delivery}),
        "webhooks/{id}/deliveries/{delivery_id:int}/redelivery": Endpoint({"POST": webhook_routes.redeliver}),
        "webhooks/{id}/ping": Endpoint({"POST": webhook_routes.ping}),
    }
    # CVAT 2.73 accepts only these with a trailing slash, too.
    slashed = {
        "jobs/{id}/annotations": Endpoint(
            {
                "GET": annotation_routes.get_job_annotations,
                "PUT": annotation_routes.put_job_annotations,
                "PATCH": annotation_routes.patch_job_annotations,
                "DELETE": annotation_routes.delete_job_annotations,
            }
        ),
        "jobs/{id}/data": Endpoint({"GET": chunk_routes.get_job_data}),
        "tasks/{id}/annotations": Endpoint(
            {
                "GET": annotation_routes.get_task_annotations,
                "PUT": annotation_routes.put_task_annotations,
                "PATCH": annotation_routes.patch_task_annotations,
                "DELETE": annotation_routes.delete_task_annotations,
            }
        ),
        "tasks/{id}/data": Endpoint({"GET": chunk_routes.get_task_data, "POST": uploads.post_data}),
    }
    table |= slashed | {f"{path}/": endpoint for path, endpoint in slashed.items()}
    return [Route(f"/api/{path}", endpoint) for path, endpoint in table.items()] + [
        Route("/", task_pages.index),
        Route("/tasks/{id}", task_pages.task),
        Route("/tasks/{id}/jobs/{job}", task_pages.job),
        Route("/tasks/{id}/frames/{frame}", task_pages.frame_image),
        Route(ai_tools.SCRIPT, ai_tools.script),
    ]


async def _not_found(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(NOT_FOUND_PAGE, status_code=404, headers=common_headers())
