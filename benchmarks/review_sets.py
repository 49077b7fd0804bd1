"""Photographs and frames with their objects, and what a function finds on them, for `review.py`."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import PIL.Image
import PIL.ImageOps

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.frames import Frame
from prefect_cvat.inference.detector import Detector

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "data" / "pedestrians-60.txt"
LOWEST_SCORE = 0.05

Box = Sequence[float]


@dataclass
class Found:
    """A shape that a function found: the name of its label, its score and its box in pixels."""

    label: str
    score: float
    box: Box


@dataclass
class Picture:
    """A frame: its size, what is on it, what a function finds there, and what it finds on the mirrored one.

    `labels` are those that are annotated; what is found of others is left out.
    """

    image: PIL.Image.Image
    truth: list[tuple[str, Box]]
    labels: frozenset[str] | None = None
    found: list[Found] = field(default_factory=list)
    mirrored: list[Found] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size


def read_photographs(folder: Path) -> list[Picture]:
    """25 photographs of COCO: 13 with all objects, 12 on which only persons are annotated."""
    pictures: dict[str, Picture] = {}
    for file, labels in (("instances.json", None), ("person_keypoints.json", frozenset({"person"}))):
        coco = json.loads((folder / file).read_text())
        names = {category["id"]: category["name"] for category in coco["categories"]}
        for image in coco["images"]:
            path = folder / "images" / image["file_name"]
            truth = [
                (names[item["category_id"]], corners(*item["bbox"]))
                for item in coco["annotations"]
                if item["image_id"] == image["id"]
            ]
            pictures.setdefault(path.name, Picture(open_picture(path), truth, labels))
    found = list(pictures.values())
    detect(load_function("nanodet_detection", {}), found)
    return found


def read_cells(folder: Path, weights: Sequence[Path]) -> list[Picture]:
    """72 photographs of blood cells, each with the detector that was not trained on it.

    Args:
        folder: The photographs.
        weights: Those of the detectors that were trained on the 1st, 3rd, ... and on the 2nd, 4th, ... one.
    """
    sys.path.insert(0, str(ROOT / "examples"))
    example = importlib.import_module("blood_cells")
    pictures = [Picture(open_picture(path), cells) for path, cells in example.read_photographs(folder)]
    for number, file in enumerate(weights):
        detect(example.create(str(file)), pictures[1 - number :: 2])
    return pictures


def read_video(video: Path) -> list[Picture]:
    """The first 60 frames of a video, with persons."""
    persons: dict[int, list[tuple[str, Box]]] = {}
    for line in REFERENCE.read_text().splitlines():
        frame, _, *box = map(float, line.split(",")[:6])
        persons.setdefault(int(frame) - 1, []).append(("person", corners(*box)))
    labels = frozenset({"person"})
    with av.open(str(video)) as container:
        frames = (frame.to_image() for frame in container.decode(video=0))
        pictures = [
            Picture(image, persons.get(number, []), labels)
            for number, image in zip(range(60), frames, strict=False)
        ]
    detect(load_function("nanodet_detection", {}), pictures)
    return pictures


def detect(function: Any, pictures: Sequence[Picture]) -> None:
    """Fill in what a function finds."""
    names = {label.id: label.name for label in function.spec.labels}
    for picture, found in zip(pictures, run(function, (each.image for each in pictures)), strict=True):
        picture.found = [
            Found(names[shape.label_id], shape.score, shape.points)
            for shape in found
            if picture.labels is None or names[shape.label_id] in picture.labels
        ]
    mirrored = (PIL.ImageOps.mirror(each.image) for each in pictures)
    for picture, found in zip(pictures, run(function, mirrored), strict=True):
        width = picture.size[0]
        for shape in found:
            left, top, right, bottom = shape.points
            box = (width - right, top, width - left, bottom)
            picture.mirrored.append(Found(names[shape.label_id], shape.score, box))


def run(function: Any, images: Iterable[PIL.Image.Image]) -> list[list[Any]]:
    opened = [(Frame(number, f"{number}", *image.size), image) for number, image in enumerate(images)]
    detector = Detector(function, conf_threshold=LOWEST_SCORE)
    return [list(found.shapes) for found in detector.detect(opened)]


def open_picture(path: Path) -> PIL.Image.Image:
    with PIL.Image.open(path, formats=["JPEG"]) as image:  # noqa: TID251 (our own data)
        return image.convert("RGB")


def corners(left: float, top: float, width: float, height: float) -> Box:
    return left, top, left + width, top + height
