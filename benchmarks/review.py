"""Whether the frames that a report says to look at first are those with the mistakes.

NanoDet annotates photographs of COCO in a sandbox. Which share of what it misses or finds wrongly there,
at an IoU of 0.5, is on the first quarter of the frames, in the order of the report? In no order: 0.25.

    python benchmarks/review.py PHOTOS_FOLDER
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.evaluation.report.worst_frames import rank_worst_frames
from prefect_cvat.sandbox import Sandbox


def main() -> None:
    [folder] = map(Path, sys.argv[1:])
    print("threshold  mistakes  first quarter by: the report  number of shapes  (no order: 0.25)")
    for threshold in (0.2, 0.3, 0.4, 0.5):
        with Sandbox() as server, Client(server.url) as client:
            client.login((server.user, server.password))
            task_id, size = create_task(client, folder)
            order, mistakes, shapes = measure(client, task_id, size, threshold)
        by_number = sorted(range(size), key=lambda frame: (-shapes[frame], frame))
        shares = share_on_first(order, mistakes, 0.25), share_on_first(by_number, mistakes, 0.25)
        print(f"{threshold:9.2f} {sum(mistakes.values()):9d} {shares[0]:30.2f} {shares[1]:17.2f}")


def create_task(client: Client, folder: Path) -> tuple[int, int]:
    """A task of the photographs, with what is on them; its id and how many frames it has."""
    coco = json.loads((folder / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["file_name"]: folder / "images" / image["file_name"] for image in coco["images"]}
    task = client.create_task("photographs of COCO", [label_spec(name, None) for name in names.values()])
    client.upload_images(task.id, {name: path.read_bytes() for name, path in files.items()})
    frames = {meta.name: number for number, meta in enumerate(client.meta(task.id).frames)}
    images = {image["id"]: frames[image["file_name"]] for image in coco["images"]}
    labels = {label.name: label.id for label in client.labels(task.id)}
    shapes = []
    for item in coco["annotations"]:
        x, y, width, height = item["bbox"]
        place = {"frame": images[item["image_id"]], "label_id": labels[names[item["category_id"]]]}
        shapes.append({**place, "type": "rectangle", "points": [x, y, x + width, y + height]})
    client.create_job_annotations(client.jobs(task.id)[0].id, {"shapes": shapes, "tags": [], "tracks": []})
    return task.id, len(frames)


def measure(
    client: Client, task_id: int, size: int, threshold: float
) -> tuple[list[int], Counter[int], Counter[int]]:
    """Annotate: the frames in the report's order, then how many mistakes and shapes are on them."""
    function = nanodet_detection.create()
    report = annotate_task(client, task_id, function, conf_threshold=threshold, review_frames=size)
    order = [item.frame for item in report.review]
    order += [frame for frame in range(size) if frame not in order]
    evaluation = evaluate_task(client, task_id, all_frames=True)
    mistakes = Counter({item.frame: item.mistakes for item in rank_worst_frames(evaluation, max_frames=size)})
    found = Counter(s["frame"] for s in client.task_annotations(task_id).shapes if s["source"] == "auto")
    return order, mistakes, found


def share_on_first(order: Sequence[int], mistakes: Mapping[int, int], part: float) -> float:
    """Which share of the mistakes is on the first part of the frames, the last of which may be cut."""
    whole, rest = divmod(part * len(order), 1)
    seen = sum(mistakes[frame] for frame in order[: int(whole)]) + rest * mistakes[order[int(whole)]]
    return seen / sum(mistakes.values())


if __name__ == "__main__":
    main()
