"""HTTP to a CVAT server: log-in, JSON, downloads and uploads."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import IO, Any

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from prefect_cvat.exceptions import (
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    ResponseTooLargeError,
)
from prefect_cvat.http.interruption import Interruption
from prefect_cvat.http.json_limits import MAX_JSON_BYTES, parse_json
from prefect_cvat.http.request_sender import LOGIN_PATH, BodyValidator, RequestSender
from prefect_cvat.http.session import TokenAuth

__all__ = ["Transport"]


class Transport(RequestSender):
    """One server, one set of credentials. May be used from several threads.

    Args:
        url: The server's address, see `normalize_url`.
        options: Further arguments of `RequestSender`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._login_lock = threading.Lock()
        self._password: tuple[str, SecretStr] | None = None

    def use_access_token(self, token: SecretStr) -> None:
        """Send a personal access token with all further requests.

        Raises:
            ValueError: It is not a token.
        """
        text = token.get_secret_value().strip()
        if not (text.isascii() and text.isprintable()) or not text or " " in text:
            raise ValueError("the access token is empty, or has characters that no token has; copy it again")
        self._auth = TokenAuth("Bearer", SecretStr(text))
        self._password = None

    def use_auth(self, auth: AuthBase) -> None:
        """Let an auth object add the credentials to all further requests."""
        self._auth = auth
        self._password = None

    @property
    def uses_access_token(self) -> bool:
        """Whether requests are sent with a personal access token."""
        return isinstance(self._auth, TokenAuth) and self._auth.scheme == "Bearer"

    def login(self, user: str, password: SecretStr) -> None:
        """Exchange user (or e-mail address) and password for a token, which all further requests send.

        Raises:
            AuthenticationError: The user or the password is wrong.
        """
        names = ["username", "email"] if "@" in user else ["username"]
        for name in names:
            body = {name: user, "password": password.get_secret_value()}
            try:
                answer = self.json("POST", LOGIN_PATH, body=body, anonymous=True)
            except BadRequestError as error:
                if error.status == 400 and name != names[-1]:
                    continue
                if error.status != 400:
                    raise
                raise AuthenticationError(
                    f"{self.url} refused to log in user {user!r}: {error.detail}",
                    status=error.status,
                    method="POST",
                    path=error.path,
                    detail=error.detail,
                    request_id=error.request_id,
                ) from None
            break
        if not isinstance(answer, dict) or not isinstance(answer.get("key"), str):
            raise InvalidResponseError(
                f"{self.url} is not a CVAT server: its answer to a log-in has no token"
            )
        self._auth = TokenAuth("Token", SecretStr(answer["key"]))
        self._password = (user, password)

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        max_bytes: int = MAX_JSON_BYTES,
    ) -> Any:
        """Send a request and return the parsed JSON of the response, or None if it is empty.

        Args:
            method: The HTTP method.
            path: The path on the server, from `/api` on.
            params: The query.
            body: Sent as JSON; bytes are sent as they are.
            headers: Further headers.
            anonymous: Send no credentials.
            max_bytes: Maximum size of the response in bytes, see `parse_json`.

        Raises:
            ResponseTooLargeError: The response is larger, or has too many objects.
            ApiError: The server refused the request, or failed.
            TransportError: No response came.
            InvalidResponseError: The response is not JSON.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**({} if data is None else {"Content-Type": "application/json"}), **(headers or {})}
        response, content = self.send(
            method,
            path,
            params=params,
            data=data,
            headers=headers,
            anonymous=anonymous,
            max_bytes=max_bytes,
        )
        if response.status_code == 204 or not content:
            return None
        try:
            return parse_json(content, max_bytes)
        except ResponseTooLargeError as error:
            raise ResponseTooLargeError(f"{method} {self.url}{path}: {error}") from None
        except ValueError:
            raise InvalidResponseError(
                f"{method} {self.url}{path} answered {response.status_code} with"
                f" {response.headers.get('Content-Type', 'no content type')} where JSON was expected;"
                " is this the address of a CVAT server?"
            ) from None

    def download(
        self,
        path: str,
        file: IO[bytes],
        *,
        max_bytes: int,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        validate: BodyValidator | None = None,
        interruption: Interruption | None = None,
        is_repeated_when_slow: bool = True,
    ) -> None:
        """Download to a file, and rewind it. Raises what `json` raises, and `StorageError`.

        Args:
            path: The path on the server.
            file: Written from its beginning.
            max_bytes: Maximum size of the response in bytes.
            params: The query.
            headers: Further headers.
            validate: Returns why the file is invalid, or None. An invalid file is downloaded again.
            interruption: Can interrupt the download, and waits between attempts.
            is_repeated_when_slow: Whether to repeat the request after 504 and after a timeout.

        Raises:
            StorageError: The file cannot be written.
        """
        self.send(
            "GET",
            path,
            params=params,
            headers=headers,
            into=file,
            max_bytes=max_bytes,
            validate=validate,
            interruption=interruption,
            is_repeated_when_slow=is_repeated_when_slow,
        )
        file.seek(0)

    def post_files(
        self, path: str, *, fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]], step: str
    ) -> None:
        """Send files as a form, in one step of CVAT's upload protocol. Raises what `json` raises.

        Args:
            path: The path on the server.
            fields: Further fields of the form.
            files: The files by field name, each a file name and its bytes.
            step: The header that names the step, such as `Upload-Multiple`.
        """
        form = requests.Request("POST", self.url, data=fields, files=files).prepare()
        assert isinstance(form.body, bytes)
        headers = {"Content-Type": form.headers["Content-Type"], step: ""}
        self.send("POST", path, data=form.body, headers=headers)

    def _renew_credentials(self, refused: object) -> bool:
        """Replace an expired token; return False without a password."""
        if self._password is None:
            return False
        with self._login_lock:
            if self._auth is refused:  # otherwise another thread has done it
                self.login(*self._password)
        return True
