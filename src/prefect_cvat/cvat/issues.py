"""Lists and deletes the issues of CVAT."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, ConfigDict

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    ServerError,
    TransportError,
)
from prefect_cvat.http.retry_policy import MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME, RetryPolicy

__all__ = [
    "MARK",
    "RETRY",
    "UNKNOWN_OUTCOME",
    "Issue",
    "delete_issue",
    "has_unknown_outcome",
    "issue_identity",
    "list_issues",
]

MARK = "prefect-cvat: "
"""Prefix of the messages of issues opened by runs, which identifies them."""

RETRY = RetryPolicy()
"""Waits between attempts of a request that the server may have executed."""

UNKNOWN_OUTCOME = (TransportError, ServerError, InvalidResponseError)
"""Errors after which the server may have executed a request. 429 is a refusal."""


class Issue(BaseModel):
    """An issue: a place on a frame for somebody to look at.

    Attributes:
        id: The id.
        frame: The frame.
        job: The id of the job.
        position: The position in pixels; left, top, right, bottom if a run has opened it.
        resolved: Whether it is resolved.
        assignee: The assigned user.
        messages: The comments, oldest first.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    frame: int
    job: int
    position: list[float]
    resolved: bool = False
    assignee: dict[str, Any] | None = None
    messages: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether a run has opened it."""
        return bool(self.messages) and self.messages[0].startswith(MARK)

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has replied to it, resolved it or assigned it."""
        return not self.resolved and self.assignee is None and len(self.messages) == 1

    @property
    def identity(self) -> bytes:
        """A digest of frame and message, the same before and after sending."""
        return issue_identity(self.frame, self.messages[0] if self.messages else "")


class _Comment(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    issue: int
    message: str


def list_issues(client: Client, job_id: int) -> list[Issue]:
    """All issues of a job with their comments, oldest first."""
    issues = sorted(client.iter_list(Issue, "/api/issues", {"job_id": job_id}), key=lambda issue: issue.id)
    comments = sorted(
        client.iter_list(_Comment, "/api/comments", {"job_id": job_id}), key=lambda item: item.id
    )
    messages: dict[int, list[str]] = {issue.id: [] for issue in issues}
    for comment in comments:
        messages.setdefault(comment.issue, []).append(comment.message)
    return [issue.model_copy(update={"messages": tuple(messages[issue.id])}) for issue in issues]


def delete_issue(client: Client, issue_id: int) -> None:
    """Delete an issue with its comments. Safe to repeat: no error if it does not exist."""
    try:
        RETRY.retrying(retry_on=has_unknown_outcome, max_attempts=MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME)(
            client.json, "DELETE", f"/api/issues/{issue_id}"
        )
    except NotFoundError:
        return


def has_unknown_outcome(error: BaseException) -> bool:
    """Whether the server may have executed the request despite this error."""
    return isinstance(error, UNKNOWN_OUTCOME)


def issue_identity(frame: int, message: str) -> bytes:
    """A digest that identifies a sent issue among those on the server."""
    return blake2b(f"issue {frame} {message}".encode(), digest_size=12).digest()
