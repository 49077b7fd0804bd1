"""Annotate, correct, learn, train: three rounds on photographs of blood cells, in a sandbox.

The detector of `blood_cells.py` is trained on six photographs. In each round it annotates new ones with what
was learned so far (`annotate --learned`). A person, played by the truth, corrects them. `learn` reads the
corrections: thresholds, the order of review, and the corrected photographs, on which the detector is trained
further. What a person does on a photograph is counted as `prefect-cvat saved` does.

    python examples/learning_loop.py ../bccd --plot learning_loop.png
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blood_cells
import matplotlib.pyplot as plt
import numpy as np
import requests
from blood_cells import LABELS, BloodCells, Photograph
from safetensors.torch import save_file

from prefect_cvat import Client, annotate_task, learn_task
from prefect_cvat.corrections import SavedTime, saved_time
from prefect_cvat.geometry.iou import box_iou
from prefect_cvat.sandbox import Sandbox

SEED = 6
"""Photographs that the first detector is trained on."""

GOOD_ENOUGH = 0.7
"""IoU from which the person leaves a box where it is."""


@dataclass
class Person:
    """Corrects tasks as CVAT's pages do, until they show the truth."""

    url: str
    login: tuple[str, str]
    truth: dict[str, list[tuple[str, list[float]]]]

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = requests.request(method, f"{self.url}/api/{path}", auth=self.login, timeout=60, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def correct(self, client: Client, task_id: int) -> None:
        [job] = client.jobs(task_id)
        labels = {label.name: label.id for label in client.labels(task_id)}
        found = client.job_annotations(job.id).shapes
        changed: dict[str, list[Any]] = {"create": [], "update": [], "delete": []}
        for number, frame in enumerate(client.meta(task_id).frames):
            on_frame = [shape for shape in found if shape["frame"] == number]
            truth = [(labels[name], box) for name, box in self.truth[frame.name]]
            for action, shapes in corrections(number, on_frame, truth).items():
                changed[action] += shapes
        for action, shapes in changed.items():
            if shapes:
                body = {"shapes": shapes, "tags": [], "tracks": []}
                self.call("PATCH", f"jobs/{job.id}/annotations?action={action}", json=body)
        self.call("PATCH", f"jobs/{job.id}", json={"state": "completed"})


def corrections(
    frame: int, found: list[dict[str, Any]], truth: list[tuple[int, list[float]]]
) -> dict[str, list[Any]]:
    """What a person creates, updates and deletes on a frame."""
    changed: dict[str, list[Any]] = {"create": [], "update": [], "delete": []}
    free = set(range(len(truth)))
    boxes = np.array([box for _, box in truth], dtype=float).reshape(-1, 4)
    for shape in sorted(found, key=lambda shape: -shape["score"]):
        iou = box_iou(np.array([shape["points"]], dtype=float), boxes)[0]
        place = max(
            free, key=lambda at: (iou[at] >= 0.5, truth[at][0] == shape["label_id"], iou[at]), default=0
        )
        if place not in free or iou[place] < 0.5:
            changed["delete"].append(shape)
            continue
        free.remove(place)
        label, box = truth[place]
        points = shape["points"] if iou[place] >= GOOD_ENOUGH else box
        if (label, points) != (shape["label_id"], shape["points"]):
            changed["update"].append({**shape, "label_id": label, "points": points, "source": "semi-auto"})
    changed["create"] = [
        {"type": "rectangle", "frame": frame, "label_id": label, "points": box, "source": "manual"}
        for label, box in (truth[place] for place in sorted(free))
    ]
    return changed


def new_task(client: Client, person: Person, project: int, name: str, photographs: list[Photograph]) -> int:
    task = person.call("POST", "tasks", json={"name": name, "project_id": project})
    client.upload_images(task["id"], {path.name: path.read_bytes() for path, _ in photographs})
    return int(task["id"])


def read_corrected(folder: Path) -> list[Photograph]:
    """The photographs that `learn` has exported, with what is on them after the correction."""
    coco = json.loads((folder / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    found = []
    for image in coco["images"]:
        boxes = [
            (names[item["category_id"]], [x, y, x + width, y + height])
            for item in coco["annotations"]
            if item["image_id"] == image["id"]
            for x, y, width, height in [item["bbox"]]
        ]
        found.append((folder / "images" / image["file_name"], boxes))
    return found


def run(folder: Path, work: Path, rounds: int, epochs: int) -> list[tuple[SavedTime, SavedTime]]:
    """Each round, what a person did; and what the first detector would have left to do."""
    photographs = blood_cells.read_photographs(folder)
    new = photographs[SEED:]
    size = len(new) // rounds
    print(f"training on {SEED} photographs", flush=True)
    corrected = photographs[:SEED]
    model = blood_cells.train(corrected, epochs=2 * epochs)
    first = work / "first.safetensors"
    save_file(model.state_dict(), first)
    weights, done = first, []
    with Sandbox() as server, Client(server.url) as client:
        client.login((server.user, server.password))
        truth = {path.name: cells for path, cells in photographs}
        person = Person(server.url, (server.user, server.password), truth)
        labels = [{"name": name} for name in LABELS]
        with_loop, without = (
            person.call("POST", "projects", json={"name": name, "labels": labels})["id"]
            for name in ("blood cells", "the first detector")
        )
        for number in range(1, rounds + 1):
            part = new[(number - 1) * size : number * size]
            both = []
            for project, file, learned in ((with_loop, weights, True), (without, first, False)):
                task = new_task(client, person, project, f"round {number}", part)
                report = annotate_task(client, task, BloodCells(str(file)), learned=learned)
                person.correct(client, task)
                both.append(saved_time(client, task))
                if learned:
                    print(*[report.learned] * bool(report.learned), *both[0].lines(), sep="\n", flush=True)
                    found = learn_task(client, task, folder=work / f"round-{number}")
                    print(*found.lines(), sep="\n", flush=True)
            done.append((both[0], both[1]))
            corrected = corrected + read_corrected(work / f"round-{number}")
            if number < rounds:
                model = blood_cells.train(corrected, model, epochs=epochs)
                weights = work / f"after-{number}.safetensors"
                save_file(model.state_dict(), weights)
    return done


def actions(saved: SavedTime) -> float:
    """Boxes moved, relabelled, deleted and drawn on a photograph."""
    changes = sum(each.moved + each.relabelled + each.deleted for each in saved.by_label)
    return (changes + sum(saved.drawn.values())) / saved.frames


def plot(done: list[tuple[SavedTime, SavedTime]], file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    rounds = range(1, len(done) + 1)
    for axes, value, title in (
        (left, actions, "Corrections on a photograph"),
        (right, lambda saved: saved.seconds_with / saved.frames, "Seconds on a photograph"),
    ):
        axes.plot(
            rounds, [value(loop) for loop, _ in done], "o-", color="#2b6cb0", label="learned and retrained"
        )
        axes.plot(rounds, [value(first) for _, first in done], "s--", color="#888", label="first detector")
        axes.set(title=title, xlabel="round", xticks=list(rounds), ylim=(0, None))
    by_hand = [loop.seconds_without / loop.frames for loop, _ in done]
    right.plot(rounds, by_hand, ":", color="#c05621", label="by hand")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.set_ylim(bottom=0)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="the photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20, help="passes over the photographs in each round")
    parser.add_argument("--plot", type=Path, help="the file of the plot")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("RUNS", "LEARNED", "CACHE"):  # nothing of this machine is changed
            os.environ[f"PREFECT_CVAT_{name}_DIR"] = f"{folder}/{name.lower()}"
        done = run(arguments.folder, Path(folder), arguments.rounds, arguments.epochs)
    print("round  corrections on a photograph  with the first detector  seconds  with the first  by hand")
    for number, (loop, first) in enumerate(done, 1):
        print(
            f"{number:5d} {actions(loop):28.1f} {actions(first):24.1f}"
            f" {loop.seconds_with / loop.frames:8.0f} {first.seconds_with / first.frames:15.0f}"
            f" {loop.seconds_without / loop.frames:8.0f}"
        )
    if arguments.plot is not None:
        plot(done, arguments.plot)


if __name__ == "__main__":
    main()
