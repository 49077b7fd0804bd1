"""CVAT's issues: listing them, and deleting one."""

from __future__ import annotations

import time
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
from prefect_cvat.http.retry_policy import ATTEMPTS, RetryPolicy

__all__ = ["MARK", "Issue", "delete_issue", "list_issues"]

MARK = "prefect-cvat: "
"""What the message of our issues begins with: how they are known again."""

RETRY = RetryPolicy()
"""How long is waited before a request whose fate is unknown is looked into, and sent again."""

UNKNOWN_OUTCOME = (TransportError, ServerError, InvalidResponseError)
"""The errors after which an issue may be there. After 429 it is not: that is a refusal."""


class Issue(BaseModel):
    """An issue: a place on a frame that somebody is to look at.

    Attributes:
        id: Its number.
        frame: The frame.
        job: The job that it is in.
        position: Where on the frame: left, top, right, bottom, if it is ours.
        resolved: Whether somebody has said that it is done.
        assignee: Whom it has been given to.
        messages: What people and runs have said on it, what it is about first.
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
        """Whether a run has opened it, this one or another."""
        return bool(self.messages) and self.messages[0].startswith(MARK)

    @property
    def is_untouched(self) -> bool:
        """Whether it is as it was opened: nobody has replied, resolved it, or given it to somebody."""
        return not self.resolved and self.assignee is None and len(self.messages) == 1

    @property
    def identity(self) -> bytes:
        """A digest of what it is about; equal for what was sent and what is read back."""
        return issue_identity(self.frame, self.messages[0] if self.messages else "")


class _Comment(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    issue: int
    message: str


def list_issues(client: Client, job_id: int) -> list[Issue]:
    """All issues of a job with what was said on them, in the order in which they were opened."""
    issues = sorted(client.each(Issue, "/api/issues", {"job_id": job_id}), key=lambda issue: issue.id)
    comments = sorted(client.each(_Comment, "/api/comments", {"job_id": job_id}), key=lambda item: item.id)
    messages: dict[int, list[str]] = {issue.id: [] for issue in issues}
    for comment in comments:
        messages.setdefault(comment.issue, []).append(comment.message)
    return [issue.model_copy(update={"messages": tuple(messages[issue.id])}) for issue in issues]


def delete_issue(client: Client, issue_id: int) -> None:
    """Delete an issue with what was said on it. One that is gone is no error, so this can be tried again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            client.json("DELETE", f"/api/issues/{issue_id}")
        except NotFoundError:
            return
        except UNKNOWN_OUTCOME:
            if attempt == ATTEMPTS:
                raise
            time.sleep(RETRY.delay(attempt, None))
        else:
            return


def issue_identity(frame: int, message: str) -> bytes:
    return blake2b(f"issue {frame} {message}".encode(), digest_size=12).digest()
