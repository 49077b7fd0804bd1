"""The addresses of the sandbox."""

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from prefect_cvat.sandbox import (
    accounts,
    annotations,
    data,
    gone,
    issues,
    jobs,
    labels,
    meta,
    organizations,
    pages,
    projects,
    requests,
    tasks,
    uploads,
    validation,
    webhooks,
)
from prefect_cvat.sandbox.database import Database
from prefect_cvat.sandbox.endpoint import Endpoint, common_headers
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.webhook_sender import WebhookSender
from prefect_cvat.sandbox.worker import Worker

_NOT_FOUND = """
<!doctype html>
<html lang="en">
<head>
  <title>Not Found</title>
</head>
<body>
  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>
</body>
</html>
"""


def open_state(folder: Path, user: str, password: str, webhook_retry_seconds: Sequence[float]) -> State:
    """Opens, or makes, the state in a folder, and sees that its administrator can log in."""
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(folder / "sandbox.sqlite3")
    with database.write() as db:
        requests.abandon_unfinished(db)
        accounts.ensure_administrator(db, user, password)
    sender = WebhookSender(database, webhook_retry_seconds)
    return State(folder=folder, database=database, worker=Worker(), sender=sender)


def close_state(state: State) -> None:
    """Waits for the workers and closes the database."""
    state.worker.close()
    state.sender.close()
    state.database.close()


def create_app(state: State) -> Starlette:
    """The ASGI application on a state. Middleware may be put around it, for instance to inject faults."""
    app = Starlette(routes=_routes(), exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    app.state.sandbox = state
    return app


def _routes() -> list[Route]:
    table = {
        "auth/access_tokens": Endpoint(
            {"GET": accounts.list_access_tokens, "POST": accounts.create_access_token}
        ),
        "auth/access_tokens/self": Endpoint({"GET": accounts.current_access_token}),
        "auth/access_tokens/{id}": Endpoint({"DELETE": accounts.revoke_access_token}),
        "auth/login": Endpoint({"POST": accounts.login}, anonymous=True),
        "auth/logout": Endpoint({"POST": accounts.logout}),
        "auth/register": Endpoint({"POST": accounts.register}, anonymous=True),
        "comments": Endpoint({"GET": issues.list_comments, "POST": issues.create_comment}),
        "comments/{id}": Endpoint({"GET": issues.get_comment}),
        "issues": Endpoint({"GET": issues.list_issues, "POST": issues.create_issue}),
        "issues/{id}": Endpoint(
            {"GET": issues.get_issue, "PATCH": issues.update_issue, "DELETE": issues.delete_issue}
        ),
        "jobs": Endpoint({"GET": jobs.list_jobs, "POST": jobs.create_ground_truth_job}),
        "jobs/{id}": Endpoint({"GET": jobs.get_job, "PATCH": jobs.update_job, "DELETE": jobs.delete_job}),
        "jobs/{id}/data/meta": Endpoint({"GET": meta.get_job_meta, "PATCH": meta.update_job_meta}),
        "jobs/{id}/preview": Endpoint({"GET": data.get_job_preview}),
        "labels": Endpoint({"GET": labels.list_labels}),
        "labels/{id}": Endpoint(
            {"GET": labels.get_label, "PATCH": labels.update_label, "DELETE": labels.delete_label}
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
        "requests": Endpoint({"GET": requests.list_requests}),
        "requests/{rq_id:path}": Endpoint({"GET": requests.get_request}),
        "server/about": Endpoint({"GET": accounts.about}, anonymous=True),
        "tasks": Endpoint({"GET": tasks.list_tasks, "POST": tasks.create_task}),
        "tasks/{id}": Endpoint(
            {"GET": tasks.get_task, "PATCH": tasks.update_task, "DELETE": tasks.delete_task}
        ),
        "tasks/{id}/data/meta": Endpoint({"GET": meta.get_task_meta, "PATCH": meta.update_task_meta}),
        "tasks/{id}/data/{part}": Endpoint({"PATCH": uploads.patch_part, "HEAD": uploads.head_part}),
        "tasks/{id}/dataset": Endpoint({"GET": gone.old_export}),
        "tasks/{id}/preview": Endpoint({"GET": data.get_task_preview}),
        "tasks/{id}/validation_layout": Endpoint({"GET": validation.validation_layout}),
        "users": Endpoint({"GET": accounts.list_users}),
        "users/self": Endpoint({"GET": accounts.current_user}),
        "users/{id}": Endpoint({"GET": accounts.get_user}),
        "webhooks": Endpoint({"GET": webhooks.list_webhooks, "POST": webhooks.create_webhook}),
        "webhooks/events": Endpoint({"GET": webhooks.list_events}),
        "webhooks/{id}": Endpoint(
            {
                "GET": webhooks.get_webhook,
                "PUT": webhooks.replace_webhook,
                "PATCH": webhooks.update_webhook,
                "DELETE": webhooks.delete_webhook,
            }
        ),
        "webhooks/{id}/deliveries": Endpoint({"GET": webhooks.list_deliveries}),
        "webhooks/{id}/deliveries/{delivery_id:int}": Endpoint({"GET": webhooks.get_delivery}),
        "webhooks/{id}/deliveries/{delivery_id:int}/redelivery": Endpoint({"POST": webhooks.redeliver}),
        "webhooks/{id}/ping": Endpoint({"POST": webhooks.ping}),
    }
    # These alone are also there with a slash behind.
    slashed = {
        "jobs/{id}/annotations": Endpoint(
            {
                "GET": annotations.get_job_annotations,
                "PUT": annotations.put_job_annotations,
                "PATCH": annotations.patch_job_annotations,
                "DELETE": annotations.delete_job_annotations,
            }
        ),
        "jobs/{id}/data": Endpoint({"GET": data.get_job_data}),
        "tasks/{id}/annotations": Endpoint(
            {
                "GET": annotations.get_task_annotations,
                "PUT": annotations.put_task_annotations,
                "PATCH": annotations.patch_task_annotations,
                "DELETE": annotations.delete_task_annotations,
            }
        ),
        "tasks/{id}/data": Endpoint({"GET": data.get_task_data, "POST": uploads.post_data}),
    }
    table |= slashed | {f"{path}/": endpoint for path, endpoint in slashed.items()}
    return [Route(f"/api/{path}", endpoint) for path, endpoint in table.items()] + [
        Route("/", pages.index),
        Route("/tasks/{id}", pages.task),
        Route("/tasks/{id}/jobs/{job}", pages.job),
        Route("/tasks/{id}/frames/{frame}", pages.frame_image),
    ]


async def _not_found(_request: Request, _error: Exception) -> Response:
    return HTMLResponse(_NOT_FOUND, status_code=404, headers=common_headers())
