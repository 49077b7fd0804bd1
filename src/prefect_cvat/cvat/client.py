"""The CVAT server as far as auto-annotation needs it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

from prefect_cvat.cvat.annotation_checks import annotation_error
from prefect_cvat.cvat.annotation_stream import MAX_FILE_BYTES, has_id, stream_annotations
from prefect_cvat.cvat.data_meta import read_meta_json
from prefect_cvat.cvat.job_list_check import job_list_error
from prefect_cvat.cvat.organizations import SelectedOrganization
from prefect_cvat.cvat.response_parsing import invalid_response, parse_annotations, parse_response
from prefect_cvat.exceptions import (
    InvalidResponseError,
    MediaError,
    NoDataError,
    NotFoundError,
    PermissionDeniedError,
    ReadOnlyTokenError,
    RequestTimeoutError,
    ResponseTooLargeError,
    UnsupportedTaskError,
)
from prefect_cvat.frames import Quality
from prefect_cvat.http.json_limits import MAX_JSON_BYTES, MAX_LIST_BYTES
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.http.transport import BodyValidator, Transport
from prefect_cvat.models import (
    DataMeta,
    Job,
    Label,
    LabeledData,
    PatchedLabelRequest,
    Task,
    User,
    ValidationLayout,
)

__all__ = ["Client", "check_annotatable"]

Model = TypeVar("Model", bound=BaseModel)

MAX_CHUNK_BYTES = 2**31
"""Maximum size of a chunk in bytes, where its frames do not say more exactly how many it may have."""

PAGE_SIZE = 500
"""What is asked for of a list at a time; CVAT 2.73 gives no more."""

MAX_PAGES = 400
"""The most pages of a list that are read: 200,000 tasks or jobs."""


def check_annotatable(task: Task) -> None:
    """Refuse a task that has no images, and no video, to annotate.

    Raises:
        NoDataError: It has no data yet.
        UnsupportedTaskError: It is 3D or audio.
    """
    name = f"task {task.id} ({task.name!r})"
    if task.media_type == "audio" or task.dimension == "1d":
        raise UnsupportedTaskError(f"{name} is an audio task; only images and videos can be annotated")
    if task.media_type == "point_cloud" or task.dimension == "3d":
        raise UnsupportedTaskError(f"{name} is a 3D task; only images and videos can be annotated")
    if not task.size or task.data_chunk_size is None:
        raise NoDataError(f"{name} has no data yet; upload its media and wait until they are processed")
    if task.data_original_chunk_type not in ("imageset", "video"):
        raise UnsupportedTaskError(
            f"{name} is made of {task.data_original_chunk_type or 'unknown media'};"
            " only images and videos can be annotated"
        )


class Client:
    """A CVAT server.

    Example:
        ```python
        with Client(url="cvat.example.com") as client:
            client.login(("username", "password"))
            print(client.task(123).name)
        ```

    Args:
        url: The server's address; without a scheme it is taken for HTTPS (on this machine: HTTP).
        access_token: A personal access token, instead of `login`.
        organization: The short name (slug) of the organization to work in; `""` is the personal workspace,
            None all that the user may see. A task of another one is refused.
        verify: Whether to verify the TLS certificate, or the path of a CA bundle.
        timeout: Seconds to wait for a connection, and for the next bytes of an answer.
        retry: When requests are sent again, see `RetryPolicy`. A server that has never answered this process
            is given up after ten seconds.
        assume_reachable: Whether another process has had an answer from it just now, so that it is waited for.
        on_retry: Is told, in a line, that a request will be sent again, and why; by default the log is, as a
            warning.

    All methods raise `ApiError` when the server refuses, `TransportError` when it does not answer
    and `InvalidResponseError` when its answer makes no sense. May be used from several threads.
    """

    def __init__(
        self,
        url: str,
        *,
        access_token: str | SecretStr | None = None,
        organization: str | None = None,
        verify: bool | str = True,
        timeout: tuple[float, float] = (10.0, 75.0),
        retry: RetryPolicy | None = None,
        assume_reachable: bool = False,
        on_retry: Callable[[str], object] | None = None,
    ) -> None:
        self._transport = Transport(
            url,
            organization=organization,
            verify=verify,
            timeout=timeout,
            retry=retry,
            assume_reachable=assume_reachable,
            on_retry=on_retry,
        )
        self._organization = SelectedOrganization(organization, self._list_organizations)
        self._may_write = False
        if access_token is not None:
            self._transport.use_access_token(_secret(access_token))

    @property
    def url(self) -> str:
        """The server's address, such as `https://cvat.example.com`."""
        return self._transport.url

    def login(self, credentials: tuple[str, str | SecretStr]) -> None:
        """Log in with a user name (or e-mail address) and a password.

        Raises:
            AuthenticationError: The server does not know this user with this password.
        """
        user, password = credentials
        self._transport.login(user, _secret(password))

    def close(self) -> None:
        """Close the connections. This does not log out: that would end the token for all its users."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # --- server ---

    def server_version(self) -> str:
        """The version of CVAT, such as `2.73.0`."""
        about = self._transport.json("GET", "/api/server/about")
        return parse_response(_About, about, "/api/server/about").version

    def user(self) -> User:
        """The user that is logged in."""
        return parse_response(User, self._transport.json("GET", "/api/users/self"), "/api/users/self")

    def check_may_write(self) -> None:
        """Make sure that the access token, if there is one, is not one that may only read.

        Raises:
            ReadOnlyTokenError: It is one.
        """
        if self._may_write or not self._transport.uses_access_token:
            return
        try:
            answer = self._transport.json("GET", "/api/auth/access_tokens/self")
        except NotFoundError:  # what servers before 2.48 take for tokens is not CVAT's own
            return
        if parse_response(_AccessToken, answer, "/api/auth/access_tokens/self").read_only:
            raise ReadOnlyTokenError(
                f"the access token for {self.url} is read-only: nothing can be written with it; make one in"
                " CVAT that is not, or log in with user and password"
            )
        self._may_write = True

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
    ) -> Any:
        """Send a request for which there is no method here; return what the JSON of its answer says.

        Args:
            method: The HTTP method.
            path: The path on the server, from `/api` on.
            params: The query.
            body: What to send as JSON.
        """
        return self._transport.json(method, path, params=params, body=body)

    # --- tasks ---

    def task(self, task_id: int) -> Task:
        """A task.

        Raises:
            NotFoundError: There is no such task.
            OrganizationError: It is not in the organization that this client works in.
            PermissionDeniedError: This user may not see it.
        """
        task = parse_response(Task, self._get_by_id("task", task_id), f"/api/tasks/{task_id}")
        if "organization" in task.model_fields_set:
            self._organization.check(f"task {task_id}", task.organization)
        return task

    def check_project(self, project_id: int) -> None:
        """Make sure that a project is there for this user: CVAT lists none of its tasks where it is not.

        Raises:
            NotFoundError: There is no such project.
            OrganizationError: It is not in the organization that this client works in, which hides its tasks.
            PermissionDeniedError: This user may not see it.
        """
        answer = self._get_by_id("project", project_id)
        project = parse_response(_InOrganization, answer, f"/api/projects/{project_id}")
        if "organization" in project.model_fields_set:
            self._organization.check(f"project {project_id}", project.organization)

    def _get_by_id(self, what: str, number: int) -> Any:
        try:
            return self._transport.json("GET", f"/api/{what}s/{number}")
        except NotFoundError as error:
            raise NotFoundError(
                f"there is no {what} {number} on {self.url}",
                status=404,
                method=error.method,
                path=error.path,
                detail=error.detail,
                request_id=error.request_id,
            ) from None

    def _list_organizations(self) -> dict[int, str]:
        try:
            found = self.iter_list(_Organization, "/api/organizations", {})
            return {organization.id: organization.slug for organization in found}
        except PermissionDeniedError:
            return {}

    def tasks(self, **filters: str | int) -> list[Task]:
        """The tasks that the user may see, in the order of their ids.

        Args:
            filters: Of CVAT's list of tasks, such as `project_id`, `assignee`, or `filter` with JSON logic.
        """
        return list(self.iter_list(Task, "/api/tasks", {**filters, "sort": "id"}))

    def annotatable_task(self, task_id: int) -> Task:
        """A task that has images, or a video, to annotate.

        Raises:
            NoDataError: It has no data yet.
            UnsupportedTaskError: It is 3D or audio.
        """
        task = self.task(task_id)
        check_annotatable(task)
        return task

    def create_task(self, name: str, labels: Sequence[PatchedLabelRequest], **fields: Any) -> Task:
        """Create a task without data; `fields` are further ones of CVAT's, such as `segment_size`."""
        body = {
            "name": name,
            "labels": [label.model_dump(mode="json", exclude_none=True) for label in labels],
            **fields,
        }
        return parse_response(Task, self._transport.json("POST", "/api/tasks", body=body), "the new task")

    def upload_images(
        self, task_id: int, images: Mapping[str, bytes], *, timeout: float = 600.0, **fields: Any
    ) -> None:
        """Give a task its images, or one video, and wait until the server has processed them.

        Args:
            task_id: A task without data.
            images: The files' bytes by file name. The server sorts them by name.
            timeout: Seconds to wait for the server.
            fields: Further ones of CVAT's, such as `chunk_size`.

        Raises:
            MediaError: The server could not process the images.
            RequestTimeoutError: It did not do so in time.
        """
        path = f"/api/tasks/{task_id}/data/"
        settings = {"image_quality": 95, "use_cache": True, **fields}
        self._transport.json("POST", path, headers={"Upload-Start": ""})
        for start in range(0, len(images), 50):
            part = list(images.items())[start : start + 50]
            files = {f"client_files[{i}]": item for i, item in enumerate(part)}
            self._transport.post_files(
                path,
                fields={"image_quality": str(settings["image_quality"])},
                files=files,
                step="Upload-Multiple",
            )
        answer = self._transport.json("POST", path, body=settings, headers={"Upload-Finish": ""})
        request = f"/api/requests/{quote(parse_response(_Request, answer, path).rq_id, safe='')}"
        deadline = time.monotonic() + timeout
        while (status := self._request_status(request)).status not in ("finished", "failed"):
            if time.monotonic() > deadline:
                raise RequestTimeoutError(
                    f"the images of task {task_id} were not processed in {timeout:.0f} s"
                )
            time.sleep(0.2)
        if status.status == "failed":
            raise MediaError(f"the server could not process the images of task {task_id}: {status.message}")

    def _request_status(self, path: str) -> _RequestStatus:
        return parse_response(_RequestStatus, self._transport.json("GET", path), path)

    def meta(self, task_id: int) -> DataMeta:
        """What a task's media are: frames, chunk size, deleted frames."""
        return self._meta(f"/api/tasks/{task_id}/data/meta")

    def labels(self, task_id: int) -> list[Label]:
        """The labels of a task, skeletons with their sublabels."""
        labels = self.iter_list(Label, "/api/labels", {"task_id": task_id})
        return sorted(labels, key=lambda label: label.id)

    def jobs(self, task: Task | int) -> list[Job]:
        """The jobs of a task of every type, in the order of their ids.

        Args:
            task: The task, or its number.

        Raises:
            InvalidResponseError: The server lists fewer of them than the task says that it has.
            OrganizationError: The task is not in the organization that this client works in.
        """
        task = self.task(task) if isinstance(task, int) else task
        jobs = self.visible_jobs(task.id)
        if job_list_error(task, jobs) is not None:  # a job may have been deleted between the two answers
            task = self.task(task.id)
            jobs = self.visible_jobs(task.id)
            if (problem := job_list_error(task, jobs)) is not None:
                raise InvalidResponseError(problem)
        return jobs

    def visible_jobs(self, task_id: int) -> list[Job]:
        """The jobs of a task that the server lists to this user, in the order of their ids: maybe not all."""
        jobs = self.iter_list(Job, "/api/jobs", {"task_id": task_id})
        return sorted(jobs, key=lambda job: job.id)

    def validation_layout(self, task_id: int) -> ValidationLayout:
        """Which frames are there to check the annotators. Servers before 2.21 have none."""
        try:
            answer = self._transport.json("GET", f"/api/tasks/{task_id}/validation_layout")
        except NotFoundError:
            return ValidationLayout()
        path = f"/api/tasks/{task_id}/validation_layout"
        layout = parse_response(ValidationLayout, answer, path)
        if "mode" not in layout.model_fields_set:  # then honeypots would be written to
            raise invalid_response(path, "mode: Field required")
        return layout

    def chunk(
        self,
        task_id: int,
        number: int,
        file: IO[bytes],
        *,
        quality: Quality = "original",
        max_bytes: int = MAX_CHUNK_BYTES,
        validate: BodyValidator | None = None,
    ) -> None:
        """Write a chunk of a task to a file, as the server serves it: a zip of images, or a video.

        A chunk that the server has yet to make is waited for (it answers 429 with `Retry-After`).

        Args:
            task_id: The task.
            number: Frames `number * data_chunk_size` and following.
            file: Where to write it, from the beginning; the chunk is complete when this returns.
            quality: `original` or `compressed`.
            max_bytes: How many bytes it may have.
            validate: Says why what is in the file cannot be a chunk, or None; then it is asked for again.

        Raises:
            ResponseTooLargeError: It has more bytes.
            StorageError: The file does not take it.
            TransportError: What came was no chunk, each time.
        """
        params: dict[str, str | int] = {"type": "chunk", "number": number, "quality": quality}
        self._chunk(f"/api/tasks/{task_id}/data", file, params, max_bytes, validate)

    def _chunk(
        self,
        path: str,
        file: IO[bytes],
        params: Mapping[str, str | int],
        max_bytes: int,
        validate: BodyValidator | None,
    ) -> None:
        self._transport.download(
            path,
            file,
            params=params,
            headers={"Accept": "*/*"},
            max_bytes=max_bytes,
            validate=validate,
        )

    def task_annotations(self, task_id: int) -> LabeledData:
        """All annotations of a task; those that its jobs share are there once, tracks as one."""
        path = f"/api/tasks/{task_id}/annotations"
        answer = self._transport.json("GET", path, max_bytes=MAX_LIST_BYTES)
        return parse_annotations(answer, path)

    def iter_task_annotations(self, task_id: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """The same one by one, as `iter_job_annotations`."""
        yield from self._iter_annotations(f"/api/tasks/{task_id}/annotations")

    # --- a job: what its annotator may see, who may not see the task ---

    def job(self, job_id: int) -> Job:
        """A job.

        Raises:
            NotFoundError: There is no such job.
            OrganizationError: Its task is not in the organization that this client works in.
            PermissionDeniedError: This user may not see it.
        """
        job = parse_response(Job, self._get_by_id("job", job_id), f"/api/jobs/{job_id}")
        if "organization" in job.model_fields_set:
            self._organization.check(f"job {job_id}", job.organization)
        return job

    def job_meta(self, job_id: int) -> DataMeta:
        """What a job's media are; `start_frame` and `stop_frame` are numbers in the source."""
        return self._meta(f"/api/jobs/{job_id}/data/meta")

    def _meta(self, path: str) -> DataMeta:
        with tempfile.SpooledTemporaryFile(max_size=2**20) as file:
            self._transport.download(path, file, max_bytes=MAX_LIST_BYTES)
            try:
                answer = read_meta_json(file)
            except ValueError as error:
                raise invalid_response(path, str(error)) from None
        return parse_response(DataMeta, answer, path)

    def job_labels(self, job_id: int) -> list[Label]:
        """The labels of the task of a job, skeletons with their sublabels."""
        labels = self.iter_list(Label, "/api/labels", {"job_id": job_id})
        return sorted(labels, key=lambda label: label.id)

    def job_chunk(
        self,
        job_id: int,
        index: int,
        file: IO[bytes],
        *,
        quality: Quality = "original",
        max_bytes: int = MAX_CHUNK_BYTES,
        validate: BodyValidator | None = None,
    ) -> None:
        """A chunk of a job, as `chunk`: by its number in the job, whose chunks begin at its first frame."""
        params: dict[str, str | int] = {"type": "chunk", "index": index, "quality": quality}
        self._chunk(f"/api/jobs/{job_id}/data", file, params, max_bytes, validate)

    # --- annotations of a job: the unit of writing ---

    def job_annotations(self, job_id: int) -> LabeledData:
        """All annotations of a job."""
        path = f"/api/jobs/{job_id}/annotations"
        answer = self._transport.json("GET", path, max_bytes=MAX_LIST_BYTES)
        return parse_annotations(answer, path)

    def iter_job_annotations(self, job_id: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """The annotations of a job one by one, each with the name of its kind: tags, shapes, then tracks.

        The answer is read as a whole before the first one is returned, but to disk: a job may have millions.
        """
        yield from self._iter_annotations(f"/api/jobs/{job_id}/annotations")

    def _iter_annotations(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with tempfile.SpooledTemporaryFile(max_size=2**20) as file:
            self._transport.download(path, file, max_bytes=MAX_FILE_BYTES)
            for kind, annotation in stream_annotations(file, path):
                if (problem := annotation_error(kind, annotation)) is not None:
                    raise invalid_response(path, problem)
                yield kind, annotation

    def create_job_annotations(self, job_id: int, body: bytes | Mapping[str, Any]) -> LabeledData:
        """Add annotations to a job, all of them or none; return them with their ids.

        CVAT does not recognize a request that it gets twice, and it goes on with one whose client has
        gone: after a time-out, look at what is there before you send again. This method never
        repeats a request on its own, except after 429.
        """
        stored = self._patch_annotations(job_id, "create", body)
        if not all(has_id(each) for kind in (stored.tags, stored.shapes, stored.tracks) for each in kind):
            raise InvalidResponseError(
                f"the server's answer to create annotations of job {job_id} is not what CVAT sends: one has"
                " no id"
            )
        return stored

    def delete_job_annotations(self, job_id: int, body: bytes | Mapping[str, Any]) -> None:
        """Delete annotations from a job; each is given as the server told it, with its id."""
        self._patch_annotations(job_id, "delete", body)

    def _patch_annotations(self, job_id: int, action: str, body: bytes | Mapping[str, Any]) -> LabeledData:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self._transport.json(
            "PATCH",
            f"/api/jobs/{job_id}/annotations",
            params={"action": action},
            body=content,
            # it says what was sent, with ids and default values
            max_bytes=min(MAX_JSON_BYTES + 8 * len(content), MAX_LIST_BYTES),
        )
        return parse_annotations(answer, f"{action} annotations of job {job_id}")

    # --- lists ---

    def iter_list(self, model: type[Model], path: str, params: Mapping[str, str | int]) -> Iterator[Model]:
        """What a list of the server holds, one page after the other.

        Args:
            model: What it is a list of.
            path: The path of the list, such as `/api/labels`.
            params: What narrows or orders it.

        Raises:
            ResponseTooLargeError: It has more than `MAX_PAGES` pages.
            InvalidResponseError: It is not such a list.
        """
        before: list[Any] = []
        for page in range(1, MAX_PAGES + 1):
            wanted = {**params, "page": page, "page_size": PAGE_SIZE}
            try:
                answer = self._transport.json("GET", path, params=wanted)
            except PermissionDeniedError as error:
                if self._transport.organization:  # CVAT 2.73: who is not in it gets 403 for every list
                    asked = f"; is this user in the organization {self._transport.organization!r}?"
                    error.args = (f"{error}{asked}",)
                raise
            if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
                raise InvalidResponseError(f"GET {path} did not answer with a list of results")
            for item in answer["results"]:
                yield parse_response(model, item, path)
            if not answer.get("next"):
                return
            if not answer["results"]:
                raise InvalidResponseError(f"GET {path} answered with an empty page, and a next one")
            if answer["results"] == before:
                raise InvalidResponseError(f"GET {path} answered with the same page twice, and a next one")
            before = answer["results"]
        raise ResponseTooLargeError(f"GET {path} answered with {MAX_PAGES} pages, and a next one")


class _About(BaseModel):
    version: str


class _Request(BaseModel):
    """What CVAT answers when a worker is to do the rest: the id to ask after."""

    rq_id: str


class _RequestStatus(BaseModel):
    status: str
    message: str = ""


class _Organization(BaseModel):
    id: int
    slug: str


class _AccessToken(BaseModel):
    read_only: bool


class _InOrganization(BaseModel):
    organization: int | None = None


def _secret(value: str | SecretStr) -> SecretStr:
    return value if isinstance(value, SecretStr) else SecretStr(value)
