"""Routes of the data of tasks and jobs: chunks, frames and previews, also as byte ranges."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import HTML, ApiError, Reply, bad_request, server_error
from prefect_cvat.sandbox.media import images
from prefect_cvat.sandbox.media.image_chunks import (
    cached_chunk,
    count_pixels,
    frame_files,
    image_chunk,
    row_quality,
    single_frame,
)
from prefect_cvat.sandbox.media.video_chunks import video_chunk, video_frame
from prefect_cvat.sandbox.storage.database import Row
from prefect_cvat.sandbox.tasks.job_layout import frames_of_job

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def get_task_data(call: Call) -> Reply:
    """GET tasks/ID/data?type=chunk|frame|preview|context_image."""
    with call.state.database.read() as db:
        task = permissions.task_of(call, db, call.path_id())
    _refuse_head(call)
    kind = _kind(call)
    if task["data_id"] is None:
        raise ApiError(404, "Task has no media")
    match kind:
        case "chunk":
            number = _number(call)
            last = (task["size"] - 1) // task["chunk_size"]
            _check_chunk(number, range(last + 1))
            start = number * task["chunk_size"]
            frames = list(range(start, min(start + task["chunk_size"], task["size"])))
            return _chunk(call, task, frames, f"task-{number}", task["chunks_updated_date"])
        case "frame":
            number = _number(call)
            if not 0 <= number < task["size"]:
                raise bad_request(
                    f"Invalid frame '{number}'. The frame number should be in the [0, {task['size']}] range"
                )
            return _frame(call, task, number)
        case "preview":
            return _preview(call, task, 0)
    return _no_context()


def get_job_data(call: Call) -> Reply:
    """GET jobs/ID/data: chunks by `index` (of the job) or `number` (of the task, limited to the job)."""
    with call.state.database.read() as db:
        job = permissions.job_of(call, db, call.path_id())
        task = permissions.task_of_job(db, job)
    _refuse_head(call)
    frames = frames_of_job(job)
    match _kind(call):
        case "chunk":
            return _job_chunk(call, task, job, frames)
        case "frame":
            number = _number(call)
            if number not in frames:
                raise bad_request(f"Incorrect requested frame number: {number}")
            return _frame(call, task, number)
        case "preview":
            return _preview(call, task, frames[0])
    return _no_context()


def get_task_preview(call: Call) -> Reply:
    """GET tasks/ID/preview."""
    with call.state.database.read() as db:
        task = permissions.task_of(call, db, call.path_id())
    if task["data_id"] is None:
        raise ApiError(404, {"detail": "No preview"})
    return _preview(call, task, 0)


def get_job_preview(call: Call) -> Reply:
    """GET jobs/ID/preview."""
    with call.state.database.read() as db:
        job = permissions.job_of(call, db, call.path_id())
        task = permissions.task_of_job(db, job)
    return _preview(call, task, frames_of_job(job)[0])


def _job_chunk(call: Call, task: Row, job: Row, frames: list[int]) -> Reply:
    size = task["chunk_size"]
    updated, recoded = job["chunks_updated_date"], job["frames"] is not None
    if "index" not in call.query:
        number = _number(call)
        chunks = sorted({frame // size for frame in frames})
        _check_chunk(number, range(chunks[0], chunks[-1] + 1))
        places = range(number * size, (number + 1) * size)
        if job["frames"] is None:
            kept: list[int | None] = [frame for frame in places if frame in frames]
        else:
            # Chunks of a ground truth job have a placeholder for each frame outside the job.
            kept = [frame if frame in frames else None for frame in places if frame < task["size"]]
        return _chunk(call, task, kept, f"job-{job['id']}-number-{number}", updated, recoded=recoded)
    if "number" in call.query:
        raise bad_request(["Number and Index cannot be used together"])
    index = _number(call, "index")
    _check_chunk(index, range(-(-len(frames) // size)))
    own = frames[index * size : (index + 1) * size]
    return _chunk(call, task, own, f"job-{job['id']}-index-{index}", updated, recoded=recoded)


def _refuse_head(call: Call) -> None:
    # CVAT 2.73 answers HEAD with 500.
    if call.method == "HEAD":
        raise server_error()


def _kind(call: Call) -> str:
    kind = call.query.get("type")
    if kind not in ("chunk", "frame", "preview", "context_image"):
        raise bad_request(["Data type not specified or has wrong value"])
    if call.query.get("quality", "compressed") not in ("original", "compressed"):
        raise bad_request(["Wrong quality value"])
    return kind


def _number(call: Call, name: str = "number") -> int:
    text = call.query.get(name)
    if text is None:
        raise bad_request(["Number is not specified"])
    try:
        return int(text)
    except ValueError:
        raise server_error() from None


def _check_chunk(number: int, known: range) -> None:
    if number not in known:
        raise bad_request(
            f"Invalid chunk number '{number}'. The chunk number should be in the"
            f" [{known.start}, {known.stop - 1}] range"
        )


def _chunk(
    call: Call, task: Row, frames: Sequence[int | None], name: str, updated: str, *, recoded: bool = False
) -> Reply:
    quality = call.query.get("quality", "compressed")
    encoding = row_quality(task, quality)
    known = [frame for frame in frames if frame is not None]
    is_clip = task["mode"] == "interpolation"
    is_mp4 = is_clip and task[f"{quality}_chunk_type"] == "video"

    def make() -> bytes:
        if is_clip:
            return video_chunk(call.state, task, known, quality=encoding)
        with call.state.database.read() as db:
            files = dict(zip(known, frame_files(call.state, db, task["data_id"], known), strict=True))
        members = [None if frame is None else files[frame] for frame in frames]
        # CVAT rebuilds the chunks of a ground truth job, so even original quality is encoded again.
        return image_chunk(members, quality=100 if encoding is None and recoded else encoding)

    suffix, media_type = (".mp4", "video/mp4") if is_mp4 else (".zip", "application/zip")
    path = call.state.chunks(task["data_id"]) / f"{name}-{quality}{suffix}"
    delay = _chunk_delay(call, task, known, path)
    slowness = call.state.slow.slowness
    if delay > slowness.chunk_timeout_seconds:
        headers = {"Retry-After": str(slowness.chunk_retry_after_seconds)}
        timeout = slowness.chunk_timeout_seconds
        return Reply(status=429, content=b"", media_type=None, headers=headers, delay=timeout)
    return dataclasses.replace(_ranged(call, cached_chunk(path, make), media_type, updated), delay=delay)


def _chunk_delay(call: Call, task: Row, frames: Sequence[int], path: Path) -> float:
    """Seconds until a chunk is made."""
    if not call.state.slow.slowness.is_slow:
        return 0
    with call.state.database.read() as db:
        pixels = count_pixels(db, task, frames)
    return call.state.slow.chunk_delay(path, frames=len(frames), megapixels=pixels / 1e6)


def _frame(call: Call, task: Row, number: int) -> Reply:
    if task["mode"] == "interpolation":
        return Reply(content=video_frame(call.state, task, number, "PNG"), media_type="image/png")
    quality = row_quality(task, call.query.get("quality", "compressed"))
    with call.state.database.read() as db:
        (source,) = frame_files(call.state, db, task["data_id"], [number])
    content, media_type = single_frame(source, quality=quality)
    return Reply(content=content, media_type=media_type)


def _preview(call: Call, task: Row, number: int) -> Reply:
    if task["mode"] == "interpolation":
        return Reply(content=video_frame(call.state, task, number, "JPEG"), media_type="image/jpeg")
    with call.state.database.read() as db:
        (source,) = frame_files(call.state, db, task["data_id"], [number])
    return Reply(content=images.preview(source.path), media_type="image/jpeg")


def _no_context() -> Reply:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w"):
        pass
    return Reply(content=buffer.getvalue(), media_type=None)


def _ranged(call: Call, content: bytes, media_type: str, updated: str) -> Reply:
    headers = {
        "X-Checksum": str(zlib.crc32(str(len(content)).encode() + content[:1000])),
        "X-Updated-Date": updated,
        "Accept-Ranges": "bytes",
    }
    asked = _RANGE.fullmatch(call.headers.get("range", ""))
    if asked is None or asked[0] == "bytes=-":
        return Reply(content=content, media_type=media_type, headers=headers)
    size = len(content)
    if asked[1]:
        start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
    else:
        start, stop = max(0, size - int(asked[2])), size
    if start >= stop:
        headers["Content-Range"] = f"bytes */{size}"
        return Reply(status=416, content=b"", media_type=HTML, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Reply(status=206, content=content[start:stop], media_type=media_type, headers=headers)
