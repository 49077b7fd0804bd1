"""HTML pages that show tasks, and frames with their annotations."""

import json
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from prefect_cvat.sandbox.annotations import annotation_store, task_annotations
from prefect_cvat.sandbox.annotations.track_parts import interpolate
from prefect_cvat.sandbox.media import images
from prefect_cvat.sandbox.media.image_chunks import frame_files, single_frame
from prefect_cvat.sandbox.media.video_chunks import video_frame
from prefect_cvat.sandbox.pages import ai_tools
from prefect_cvat.sandbox.pages.svg import FrameImage, LabelStyle, Shape, draw
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.storage.database import Connection, Row

_FRAMES_PER_PAGE = 24
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline';"
    " script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0}
header{background:#b3261e;color:#fff;padding:.5rem 1rem;font-weight:600}
main{max-width:76rem;margin:1rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:.5rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.45rem .6rem;border-bottom:1px solid var(--line)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.8rem}
.card{border:1px solid var(--line);border-radius:.5rem;overflow:hidden;display:block;color:inherit;
text-decoration:none;background:var(--soft)}
.card svg{height:11rem}
.card p{margin:0;padding:.3rem .6rem;font-size:.85rem}
svg{width:100%;display:block;background:#8883}
.large svg{max-height:75vh}
.tag{display:inline-block;border:2px solid;border-radius:1rem;padding:0 .6rem;margin:.2rem .3rem .2rem 0}
.faint{opacity:.7}
nav a{margin-right:1rem}
#ai-tools{display:flex;flex-wrap:wrap;gap:.4rem .8rem;align-items:center;border:1px solid var(--line);
border-radius:.5rem;background:var(--soft);padding:.5rem .8rem;margin:.6rem 0}
#ai-tools [hidden]{display:none}
#ai-tools output{flex-basis:100%;opacity:.8}
"""


def index(request: Request) -> Response:
    """GET /: the list of tasks."""
    state: State = request.app.state.sandbox
    with state.database.read() as db:
        rows = db.execute(
            "SELECT task.id, task.name, data.size, data.mode, task.updated_date,"
            " (SELECT count(*) FROM job WHERE job.task_id = task.id) AS jobs,"
            " (SELECT count(*) FROM shape JOIN job ON job.id = job_id WHERE job.task_id = task.id) AS shapes"
            " FROM task LEFT JOIN data ON data.task_id = task.id ORDER BY task.id DESC LIMIT 500"
        ).fetchall()
    lines = "".join(
        f"<tr><td>{row['id']}</td><td><a href='/tasks/{row['id']}'>{escape(row['name'])}</a></td>"
        f"<td>{row['size'] if row['size'] is not None else 'no data'}</td><td>{row['jobs']}</td>"
        f"<td>{row['shapes']}</td><td class='faint'>{row['updated_date'][:19].replace('T', ' ')}</td></tr>"
        for row in rows
    )
    table = (
        "<table><tr><th>id</th><th>name</th><th>frames</th><th>jobs</th><th>shapes</th>"
        "<th>changed (UTC)</th></tr>"
        f"{lines}</table>"
    )
    return _page("Tasks", table if rows else "<p>There are no tasks yet.</p>")


def task(request: Request) -> Response:
    """GET /tasks/ID: the jobs, and a page of frames."""
    state: State = request.app.state.sandbox
    with state.database.read() as db:
        found = _task(db, request)
        if found is None:
            return _not_found("task")
        jobs = db.execute(
            "SELECT * FROM job WHERE task_id = ? ORDER BY start_frame, id", (found["id"],)
        ).fetchall()
        first = max(0, _number(request.query_params.get("from")))
        numbers = range(first, min(first + _FRAMES_PER_PAGE, found["size"] or 0))
        styles = _label_styles(db, found)
        jobs_shown = task_annotations.task_level_jobs(db, found)
        cards = "".join(_card(db, found, jobs_shown, number, styles) for number in numbers)
    links = " ".join(
        f"<a href='/tasks/{found['id']}/jobs/{job['id']}'>job {job['id']} ({escape(job['type'])}, frames"
        f" {job['start_frame']}–{job['stop_frame']}, {escape(job['state'])})</a>"
        for job in jobs[:100]
    )
    pager = _pager(f"/tasks/{found['id']}?from=", first, _FRAMES_PER_PAGE, found["size"] or 0)
    return _page(
        f"Task {found['id']}: {found['name']}",
        f"<nav><a href='/'>all tasks</a>{links}</nav><p>{pager}</p><div class='grid'>{cards}</div>",
    )


def job(request: Request) -> Response:
    """GET /tasks/ID/jobs/ID?frame=N: one frame with its annotations in the job."""
    state: State = request.app.state.sandbox
    with state.database.read() as db:
        found = _task(db, request)
        number = _number(request.path_params["job"])
        row = db.execute(
            "SELECT * FROM job WHERE id = ? AND task_id = ?", (number, found["id"] if found else None)
        ).fetchone()
        if found is None or row is None:
            return _not_found("job")
        asked = _number(request.query_params.get("frame", str(row["start_frame"])))
        frame = min(max(asked, row["start_frame"]), row["stop_frame"])
        styles = _label_styles(db, found)
        shapes, tags = _annotations(db, [row], frame)
        image = _frame_image(db, found, frame)
    base = f"/tasks/{found['id']}/jobs/{row['id']}?frame="
    pager = _pager(base, frame, 1, row["stop_frame"] + 1, lowest=row["start_frame"])
    badges = "".join(
        f"<span class='tag' style='border-color:{escape(styles[tag['label_id']].color)}'>"
        f"{escape(styles[tag['label_id']].name)}</span>"
        for tag in tags
        if tag["label_id"] in styles
    )
    tools = ai_tools.panel(row["id"], frame, styles, has_gateway=state.nuclio is not None)
    body = (
        f"<nav><a href='/'>all tasks</a><a href='/tasks/{found['id']}'>task {found['id']}</a></nav>"
        f"<p>Frame {frame} <span class='faint'>({_shape_count(shapes)})</span> {pager}</p>"
        f"<p>{badges}</p>{tools}<div class='large' id='frame'>{draw(image, shapes, styles)}</div>"
    )
    return _page(f"Job {row['id']} of {found['name']}", body)


def frame_image(request: Request) -> Response:
    """GET /tasks/ID/frames/N: the image."""
    state: State = request.app.state.sandbox
    number = _number(request.path_params["frame"])
    with state.database.read() as db:
        found = _task(db, request)
        if found is None or found["size"] is None or not 0 <= number < found["size"]:
            return _not_found("frame")
        (source,) = frame_files(state, db, found["data_id"], [number])
    if found["mode"] == "interpolation":
        return Response(video_frame(state, found, number, "JPEG"), media_type="image/jpeg")
    if "small" in request.query_params:
        return Response(images.preview(source.path), media_type="image/jpeg")
    content, media_type = single_frame(source, quality=None)
    return Response(content, media_type=media_type)


def _task(db: Connection, request: Request) -> Row | None:
    row: Row | None = db.execute(
        "SELECT task.*, data.id AS data_id, size, mode, frame_filter, start_frame, validation_mode,"
        " deleted_frames, compressed_chunk_type"
        " FROM task LEFT JOIN data ON data.task_id = task.id WHERE task.id = ?",
        (_number(request.path_params["id"]),),
    ).fetchone()
    return row


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return -1


def _label_styles(db: Connection, found: Row) -> dict[int, LabelStyle]:
    rows = db.execute(
        "SELECT * FROM label WHERE task_id = ? OR project_id = ?", (found["id"], found["project_id"])
    )
    return {
        row["id"]: LabelStyle(
            name=row["name"],
            color=row["color"],
            type=row["type"],
            is_keypoint=row["parent_id"] is not None,
        )
        for row in rows
    }


def _annotations(db: Connection, jobs: list[Row], frame: int) -> tuple[list[Shape], list[dict[str, Any]]]:
    frame_jobs = [item for item in jobs if item["start_frame"] <= frame <= item["stop_frame"]][:1]
    shapes: list[Shape] = []
    tags: list[dict[str, Any]] = []
    for frame_job in frame_jobs:
        shapes += annotation_store.items(db, "shape", frame_job["id"], (frame, frame))
        tags += annotation_store.items(db, "tag", frame_job["id"], (frame, frame))
        for track in annotation_store.items(db, "track", frame_job["id"]):
            for owner in [track, *track.get("elements", ())]:
                shape = interpolate(owner["shapes"], frame)
                if shape is not None:
                    shapes.append({**shape, "label_id": owner["label_id"], "id": owner["id"]})
    return [shape for shape in shapes if shape["type"] != "skeleton" or shape.get("elements")], tags


def _frame_image(db: Connection, found: Row, number: int, *, small: bool = False) -> FrameImage:
    row = db.execute(
        "SELECT width, height FROM frame WHERE data_id = ? AND number = ?", (found["data_id"], number)
    ).fetchone()
    address = f"/tasks/{found['id']}/frames/{number}{'?small=1' if small else ''}"
    return FrameImage(url=address, width=row["width"], height=row["height"])


def _card(db: Connection, found: Row, jobs: list[Row], number: int, styles: dict[int, LabelStyle]) -> str:
    shapes, tags = _annotations(db, jobs, number)
    frame_job = next((item for item in jobs if item["start_frame"] <= number <= item["stop_frame"]), None)
    note = " · deleted" if number in json.loads(found["deleted_frames"]) else ""
    names = ", ".join(styles[tag["label_id"]].name for tag in tags if tag["label_id"] in styles)
    address = f"/tasks/{found['id']}/jobs/{frame_job['id']}?frame={number}" if frame_job is not None else "#"
    svg = draw(_frame_image(db, found, number, small=True), shapes, styles, captions=False)
    text = f"frame {number} · {_shape_count(shapes)}{note}{' · ' + escape(names) if names else ''}"
    return f"<a class='card' href='{address}'>{svg}<p>{text}</p></a>"


def _shape_count(shapes: list[Shape]) -> str:
    return "1 shape" if len(shapes) == 1 else f"{len(shapes)} shapes"


def _pager(address: str, current: int, step: int, stop: int, *, lowest: int = 0) -> str:
    links = []
    if current > lowest:
        links.append(f"<a href='{address}{max(lowest, current - step)}'>← earlier</a>")
    if current + step < stop:
        links.append(f"<a href='{address}{current + step}'>later →</a>")
    return " ".join(links)


def _not_found(what: str) -> Response:
    return _page("Not found", f"<p>There is no such {what}.</p>", status=404)


def _page(title: str, body: str, *, status: int = 200) -> Response:
    return HTMLResponse(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)} – prefect-cvat sandbox</title><style>{_STYLE}</style></head>"
        "<body><header>prefect-cvat sandbox: this is NOT CVAT."
        " Do not store anything here that you need.</header>"
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>",
        status_code=status,
        headers=_HEADERS,
    )
