"""Creates the frames and jobs of a task from uploaded files, in the background."""

import json
import logging
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_cvat.sandbox import timestamps
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import ApiError, Json
from prefect_cvat.sandbox.media import background_requests, video
from prefect_cvat.sandbox.media.data_parameters import DataParameters, sorted_names
from prefect_cvat.sandbox.media.images import inspect
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks import job_layout
from prefect_cvat.sandbox.tasks.change_events import write_and_notify
from prefect_cvat.sandbox.tasks.jobs import add_job, select_frames
from prefect_cvat.sandbox.tasks.tasks import mark_task_changed

_LOG = logging.getLogger(__name__)
_VIDEO_CHUNK_SIZE = 36


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a task. The `file` of a video frame is the whole video."""

    name: str
    file: str
    width: int
    height: int
    rotated: bool = False


@dataclass(frozen=True, kw_only=True)
class Media:
    """The frames of a task in order."""

    frames: list[Frame]
    is_video: bool


def create_data(call: Call, task_id: int, rq_id: str, parameters: DataParameters) -> None:
    """Create the data of a task from its uploaded files. Errors are recorded in the background request.

    Args:
        call: The HTTP request that finished the upload; its user is the sender of webhook events.
        task_id: The task.
        rq_id: Id of the background request.
        parameters: The parameters of the upload.
    """
    state = call.state
    with state.database.write() as db:
        background_requests.start(db, rq_id)
    uploaded = state.uploads(task_id)
    failure = None
    try:
        media = _read_media(uploaded, parameters)
        _save(call, task_id, media, parameters)
    except ApiError as error:
        failure = json.dumps(error.body)
    except (ValueError, OSError) as error:
        failure = str(error)
    except Exception as error:
        _LOG.exception("Creating the data of task %s failed", task_id)
        failure = f"{type(error).__name__}: {error}"
    with state.database.write() as db:
        background_requests.finish(db, rq_id, failure=failure)
    state.sender.wake()
    shutil.rmtree(uploaded, ignore_errors=True)


def _read_media(folder: Path, parameters: DataParameters) -> Media:
    files = sorted(
        (path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_ctime_ns
    )
    if not files:
        raise ValueError("No media data found")
    videos = [path for path in files if video.is_video(path)]
    if videos and len(files) > 1:
        raise ValueError("A task is made of one video or of images only")
    stop = None if parameters.stop_frame is None else parameters.stop_frame + 1
    chosen = slice(parameters.start_frame, stop, parameters.step)
    if videos:
        facts = video.inspect(videos[0])
        frame = Frame(name=videos[0].name, file=videos[0].name, width=facts.width, height=facts.height)
        frames = [frame] * len(range(facts.frames)[chosen])
    else:
        names = sorted_names([path.name for path in files], parameters, random.SystemRandom().shuffle)
        frames = [_image_frame(folder / name) for name in names[chosen]]
    if not frames:
        raise ValueError("No frames are left after start_frame, stop_frame and frame_filter")
    return Media(frames=frames, is_video=bool(videos))


def _image_frame(path: Path) -> Frame:
    facts = inspect(path)
    return Frame(
        name=path.name, file=path.name, width=facts.width, height=facts.height, rotated=facts.rotated
    )


def _save(call: Call, task_id: int, media: Media, parameters: DataParameters) -> None:
    with write_and_notify(call) as db:
        task = db.execute("SELECT * FROM task WHERE id = ?", (task_id,)).fetchone()
        if task is None:
            raise ValueError("The task was deleted")
        mode = (parameters.validation or {}).get("mode")
        moment = timestamps.now()
        if mode == "gt_pool":
            assert parameters.validation is not None
            layout = _pool_layout(media, task, parameters.validation)
            frames = [media.frames[source] for source in layout.sources]
            segmentation = job_layout.Segments(size=0, overlap=0, borders=layout.borders)
            real_frames = layout.real_frames
        else:
            frames, real_frames = media.frames, {}
            segmentation = job_layout.split(
                len(frames), segment_size=task["segment_size"], overlap=task["overlap"], video=media.is_video
            )
        data_id = _insert_data(db, task_id, frames, media, parameters, moment)
        db.executemany(
            "INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    data_id,
                    number,
                    frame.name,
                    frame.width,
                    frame.height,
                    frame.file,
                    frame.rotated,
                    real_frames.get(number),
                )
                for number, frame in enumerate(frames)
            ),
        )
        _add_jobs(db, task, segmentation.borders, moment)
        if mode == "gt_pool":
            add_job(db, task_id, "ground_truth", layout.pool, moment)
        elif mode == "gt":
            assert parameters.validation is not None
            chosen = select_frames(*_by_number(media, parameters.validation))
            add_job(db, task_id, "ground_truth", (0, len(frames) - 1), moment, frames=chosen)
        db.execute(
            "UPDATE task SET segment_size = ?, overlap = ? WHERE id = ?",
            (segmentation.size, segmentation.overlap, task_id),
        )
        mark_task_changed(db, task_id)
        target = call.state.media(data_id)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(call.state.uploads(task_id), target)


def _add_jobs(db: Connection, task: Row, borders: tuple[tuple[int, int], ...], moment: str) -> None:
    for border in borders:
        job_id = add_job(db, task["id"], "annotation", border, moment)
        for _ in range(task["consensus_replicas"]):
            add_job(db, task["id"], "consensus_replica", border, moment, parent_job_id=job_id)


def _insert_data(
    db: Connection, task_id: int, frames: list[Frame], media: Media, parameters: DataParameters, moment: str
) -> int:
    if media.is_video:
        chunk_size = parameters.chunk_size or _VIDEO_CHUNK_SIZE
        original, small = "video", "imageset" if parameters.use_zip_chunks else "video"
    else:
        first = frames[0]
        chunk_size = parameters.chunk_size or job_layout.default_chunk_size(first.width, first.height)
        original = small = "imageset"
    validation: dict[str, Any] = parameters.validation or {}
    number: int = db.execute(
        "INSERT INTO data (task_id, size, chunk_size, image_quality, start_frame, stop_frame, frame_filter,"
        " mode, original_chunk_type, compressed_chunk_type, deleted_frames, chunks_updated_date,"
        " validation_mode, frames_per_job_count)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '[]', ?, ?, ?) RETURNING id",
        (
            task_id,
            len(frames),
            chunk_size,
            parameters.image_quality,
            parameters.start_frame,
            parameters.start_frame + (len(frames) - 1) * parameters.step,
            parameters.frame_filter,
            "interpolation" if media.is_video else "annotation",
            original,
            small,
            moment,
            validation.get("mode"),
            validation.get("frames_per_job_count") if validation.get("mode") == "gt_pool" else None,
        ),
    ).fetchone()["id"]
    return number


def _pool_layout(media: Media, task: Row, validation: Json) -> job_layout.PoolLayout:
    if media.is_video:
        raise ValueError('validation mode "gt_pool" is for images only')
    parameters, available = _by_number(media, validation)
    pool = select_frames(parameters, available)
    per_job = int(
        validation.get("frames_per_job_count")
        or round(float(validation.get("frames_per_job_share") or 0) * task["segment_size"])
    )
    if not 1 <= per_job <= len(pool):
        raise ValueError(f"frames_per_job_count must be in the [1, {len(pool)}] range")
    return job_layout.pool_layout(
        available,
        sorted(pool, key=lambda source: media.frames[source].name),
        segment_size=task["segment_size"],
        per_job=per_job,
        generator=random.Random(validation.get("random_seed")),  # noqa: S311 - a layout, not a secret
    )


def _by_number(media: Media, validation: Json) -> tuple[Json, list[int]]:
    """Replace file names in the validation parameters by frame numbers; return them and all numbers."""
    numbers = {frame.name: number for number, frame in enumerate(media.frames)}
    if media.is_video:
        return validation, list(range(len(media.frames)))
    frames = [
        numbers.get(name, -1) if isinstance(name, str) else name for name in validation.get("frames") or []
    ]
    return {**validation, "frames": frames}, list(range(len(media.frames)))
