"""The played subcommands: their preparation, their arguments, and the repair of their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile import followed, outputs, prompted
from hostile.tasks import MANY_SHAPES, prepare_many_shapes, upload_task
from prefect_cvat import Client, annotate_task, refine_task, track_task, undo_run
from prefect_cvat.auto_annotation import label_spec

__all__ = ["COMMANDS", "Scene", "make_scene"]

HUMAN = [1.0, 1.0, 12.0, 12.0]


@dataclass(frozen=True)
class Scene:
    """A task with manual annotations.

    Attributes:
        task_id: The task.
        human: The id of that.
        run: The run that has annotated it, for `undo`.
    """

    task_id: int
    human: int
    run: str | None = None


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        arguments: Its arguments: of the task, and a folder for what it writes.
        again: Does the same without an attack, which must complete what was begun.
        module: The file with the function, whose output may be hostile.
        prepare: What is done to the task before; it gives the id of a run.
    """

    arguments: Callable[[Scene, Path], Sequence[str]]
    again: Callable[[Client, Scene], Any]
    module: Any = None
    prepare: Callable[[Client, int], str | None] = lambda _client, _task_id: None


def _annotate(client: Client, scene: Scene) -> None:
    annotate_task(client, scene.task_id, outputs.create(), use_cache=False)


def _of_task(name: str, *options: str) -> Callable[[Scene, Path], Sequence[str]]:
    return lambda scene, folder: [
        name,
        str(scene.task_id),
        *(option.format(folder=folder) for option in options),
    ]


def _run_of(client: Client, task_id: int) -> str | None:
    return annotate_task(client, task_id, outputs.create(), use_cache=False).run


COMMANDS = {
    "annotate": Command(_of_task("annotate"), _annotate, outputs),
    "track": Command(
        _of_task("track", "--min-length", "1"),
        lambda client, scene: track_task(client, scene.task_id, outputs.create(), use_cache=False),
        outputs,
    ),
    "follow": Command(
        _of_task("track"),
        lambda client, scene: track_task(client, scene.task_id, followed.create()),
        followed,
    ),
    "refine": Command(
        _of_task("refine"),
        lambda client, scene: refine_task(client, scene.task_id, prompted.create()),
        prompted,
    ),
    "undo": Command(
        lambda scene, _: ["undo", str(scene.run)],
        lambda client, scene: undo_run(client, str(scene.run)),
        prepare=_run_of,
    ),
    "export": Command(_of_task("export", "--to", "{folder}/dataset"), _annotate),
    "evaluate": Command(
        _of_task("evaluate", "--left-by-run", "--page", "{folder}/evaluation.html"),
        _annotate,
        prepare=_run_of,
    ),
    "preview": Command(
        lambda scene, folder: ["preview", "--task", str(scene.task_id), "-o", str(folder / "preview.html")],
        _annotate,
        outputs,
    ),
}


def make_scene(client: Client, command: str, *, task: str) -> Scene:
    """A task of some kind, see `tasks.py`, with a rectangle on its first frame."""
    created = client.create_task("a task", [label_spec("car", None)])
    upload_task(client, created.id, task)
    [label] = client.labels(created.id)
    [job] = client.jobs(created.id)
    shape = {"label_id": label.id, "frame": 0, "type": "rectangle", "points": HUMAN, "source": "manual"}
    body = {"version": 0, "tags": [], "shapes": [shape], "tracks": []}
    human = client.create_job_annotations(job.id, body).shapes[0]["id"]
    if task in MANY_SHAPES:
        return Scene(created.id, human, prepare_many_shapes(client, created.id, task))
    return Scene(created.id, human, COMMANDS[command].prepare(client, created.id))
