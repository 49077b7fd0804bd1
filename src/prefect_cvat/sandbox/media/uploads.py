"""Routes of uploads: files in one request, in several, or in parts (the TUS protocol)."""

import base64
import binascii
import dataclasses
import json
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.datastructures import FormData, UploadFile

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import ApiError, Json, Reply, bad_request, not_found, server_error
from prefect_cvat.sandbox.media import background_requests
from prefect_cvat.sandbox.media.data_creation import create_data
from prefect_cvat.sandbox.media.data_parameters import DataParameters

_PARTS = ".parts"
_EMPTY = Reply(content=b"", media_type=None)


def post_data(call: Call) -> Reply:
    """POST tasks/ID/data: one step of an upload. Its headers say which."""
    with call.state.database.read() as db:
        task = permissions.task_of(call, db, call.path_id())
    if task["data_id"] is not None:
        raise bad_request(["Task data can be uploaded only once"])
    folder = call.state.uploads(task["id"])
    if "upload-length" in call.headers:
        return _begin_part(call, folder)
    if "upload-start" in call.headers:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return Reply(status=202, content=b"", media_type=None)
    goes_on = "upload-multiple" in call.headers or "upload-finish" in call.headers
    if call.form is None:
        body = call.json_object()
    else:
        body = _keep_files(call.form, folder, earlier=_names(folder) if goes_on else ())
    if "upload-multiple" in call.headers:
        return _EMPTY
    return _finish(call, task["id"], folder, body)


def patch_part(call: Call) -> Reply:
    """PATCH tasks/ID/data/PART: appends to a file."""
    folder, part = _part_of(call)
    facts = json.loads(part.with_suffix(".json").read_text())
    offset = part.stat().st_size
    headers = {"Tus-Resumable": "1.0.0", "Upload-Filename": facts["name"]}
    if call.headers.get("upload-offset") != str(offset):
        raise ApiError(409, {"detail": "Wrong offset"}, headers={**headers, "Upload-Offset": str(offset)})
    if offset + len(call.body) > facts["length"]:
        raise ApiError(413, {"detail": "More than was announced"}, headers=headers)
    with part.open("ab") as file:
        file.write(call.body)
    offset += len(call.body)
    if offset == facts["length"]:
        shutil.copyfile(part, folder / facts["name"])
    return Reply(status=204, content=b"", media_type=None, headers={**headers, "Upload-Offset": str(offset)})


def head_part(call: Call) -> Reply:
    """HEAD tasks/ID/data/PART: the number of bytes that have arrived."""
    _, part = _part_of(call)
    facts = json.loads(part.with_suffix(".json").read_text())
    return Reply(
        content=b"",
        media_type=None,
        headers={
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(part.stat().st_size),
            "Upload-Length": str(facts["length"]),
        },
    )


def _begin_part(call: Call, folder: Path) -> Reply:
    try:
        length = int(call.headers["upload-length"])
        name = _file_name(_metadata(call.headers.get("upload-metadata", ""))["filename"])
    except (ValueError, KeyError) as error:
        raise bad_request(["Upload-Length and a filename in Upload-Metadata are required"]) from error
    (folder / _PARTS).mkdir(parents=True, exist_ok=True)
    key = secrets.token_hex(16)
    part = folder / _PARTS / f"{key}.bin"
    part.touch()
    part.with_suffix(".json").write_text(json.dumps({"name": name, "length": length}))
    return Reply(
        status=201,
        content=b"",
        media_type=None,
        headers={
            "Tus-Resumable": "1.0.0",
            "Location": call.url(f"tasks/{call.params['id']}/data/{key}"),
            "Upload-Filename": name,
        },
    )


def _part_of(call: Call) -> tuple[Path, Path]:
    with call.state.database.read() as db:
        task = permissions.task_of(call, db, call.path_id())
    folder = call.state.uploads(task["id"])
    key = str(call.params["part"])
    part = folder / _PARTS / f"{key}.bin"
    if not key.isalnum() or not part.exists():
        raise not_found()
    return folder, part


def _metadata(text: str) -> dict[str, str]:
    try:
        return {
            name: base64.b64decode(value, validate=True).decode()
            for name, _, value in (item.strip().partition(" ") for item in text.split(",") if item.strip())
        }
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()] if folder.exists() else []


def _keep_files(form: FormData, folder: Path, *, earlier: Iterable[str]) -> Json:
    folder.mkdir(parents=True, exist_ok=True)
    parameters: dict[str, Any] = {}
    taken = set(earlier)
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            file_name = _file_name(value.filename or "")
            if file_name in taken:
                raise server_error()  # as CVAT 2.73
            taken.add(file_name)
            with (folder / file_name).open("wb") as file:
                shutil.copyfileobj(value.file, file)
        else:
            parameters[name] = value
    return parameters


def _file_name(name: str) -> str:
    # As in CVAT, uploads have no folders: sub/a.jpg becomes a.jpg.
    base = PurePosixPath(name.replace("\\", "/")).name
    if base in ("", ".", "..", _PARTS) or "\0" in base:
        raise bad_request({"client_files": [f"Incorrect file name {name!r}"]})
    return base


def _finish(call: Call, task_id: int, folder: Path, body: Json) -> Reply:
    for source in ("server_files", "remote_files", "cloud_storage_id"):
        if body.get(source):
            raise bad_request({source: ["The sandbox takes uploaded files only"]})
    parameters = DataParameters.from_body(body)
    with call.state.database.write() as db:
        if background_requests.is_running(db, task_id):
            raise bad_request(["The data of this task are being processed"])
        shutil.rmtree(folder / _PARTS, ignore_errors=True)
        rq_id = background_requests.queue(db, task_id, call.user.id)
    # The files are on disk; release the body that they came in.
    asked = dataclasses.replace(call, body=b"", form=None)
    call.state.worker.submit(lambda: create_data(asked, task_id, rq_id, parameters))
    return Reply(status=202, json={"rq_id": rq_id})
