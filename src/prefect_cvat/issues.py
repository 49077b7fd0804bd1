"""CVAT's issues on the frames that a run is least sure of, so that reviewers find them where they work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict

from prefect_cvat.client import Client
from prefect_cvat.plan import Plan
from prefect_cvat.review import FrameReview

__all__ = ["MARK", "Comment", "Issue", "list_comments", "list_issues", "open_issues"]

MARK = "prefect-cvat: "
"""What the message of our issues begins with: how they are known again."""


class Issue(BaseModel):
    """An issue: a place on a frame that somebody is to look at. What it is about is in its first comment."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    frame: int
    job: int
    position: list[float]
    resolved: bool = False


class Comment(BaseModel):
    """What somebody has said on an issue."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    issue: int
    message: str


def list_issues(client: Client, job_id: int) -> list[Issue]:
    """All issues of a job, in the order in which they were opened."""
    return sorted(client.each(Issue, "/api/issues", {"job_id": job_id}), key=lambda issue: issue.id)


def list_comments(client: Client, job_id: int) -> list[Comment]:
    """All comments on the issues of a job, in the order in which they were made."""
    return sorted(client.each(Comment, "/api/comments", {"job_id": job_id}), key=lambda comment: comment.id)


def open_issues(client: Client, reviews: Iterable[FrameReview], plan: Plan) -> Iterator[bool]:
    """Open an issue on each of some frames, but for those that have one of ours already.

    One that a human has resolved is not opened anew: what it asked for is done. Issues of others are left
    alone, and do not count.

    Args:
        client: The server.
        reviews: The frames.
        plan: What the run did, with the sizes of the frames.

    Yields:
        For each frame whether an issue was opened, as soon as it is.

    Raises:
        PrefectCvatError: The server does not take it. (If it did and could not say so, another call sees it.)
    """
    marked: dict[int, set[int]] = {}
    for review in reviews:
        job_id = review.job_id
        if job_id not in marked:
            marked[job_id] = _marked_frames(client, job_id)
        is_new = review.frame not in marked[job_id]
        if is_new:
            [frame] = plan.frames_between(review.frame, review.frame)
            client.json(
                "POST",
                "/api/issues",
                body={
                    "job": job_id,
                    "frame": review.frame,
                    # CVAT's pages draw four numbers as a rectangle
                    "position": list(review.box or (0.0, 0.0, frame.width, frame.height)),
                    "message": _message(review),
                },
            )
            marked[job_id].add(review.frame)
        yield is_new


def _marked_frames(client: Client, job_id: int) -> set[int]:
    """The frames of a job that have an issue of ours."""
    first_words: dict[int, str] = {}
    for comment in list_comments(client, job_id):
        first_words.setdefault(comment.issue, comment.message)
    return {
        issue.frame for issue in list_issues(client, job_id) if first_words.get(issue.id, "").startswith(MARK)
    }


def _message(review: FrameReview) -> str:
    return f"{MARK}{'; '.join(review.reasons)} (expected corrections: {review.expected_work:.2f})"
