"""Finds areas of the colours that the words for a label name; made for the labels of a task."""

import numpy as np
from PIL import ImageColor
from scipy import ndimage

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, prompts_for_labels, rectangle

made: list[list[str]] = []
"""The names of the labels, for each function that was made in this process."""
alive = 0
seen = 0
"""Number of images."""


class ColouredAreas:
    version = "1"

    def __init__(self, found):
        global alive
        alive += 1
        made.append([each.label.name for each in found])
        self.colours = [[colour_in(words) for words in each.words] for each in found]
        self.spec = DetectionFunctionSpec(
            labels=[
                label_spec(each.label.name, number, type="rectangle") for number, each in enumerate(found)
            ]
        )

    def detect(self, context, image):
        global seen
        seen += 1
        pixels = np.asarray(image.convert("RGB"))
        for number, colours in enumerate(self.colours):
            for colour in filter(None, colours):
                areas, _ = ndimage.label((pixels == colour).all(axis=2))
                for rows, columns in ndimage.find_objects(areas):
                    box = [columns.start, rows.start, columns.stop, rows.stop]
                    yield rectangle(number, box, score=0.75)

    def close(self):
        global alive
        alive -= 1


def colour_in(words):
    """The first colour among some words, or None."""
    names = [word for word in words.split() if word in ImageColor.colormap]
    return ImageColor.getrgb(names[0]) if names else None


def create(*, task_labels, prompts=None):
    return ColouredAreas(prompts_for_labels(task_labels, prompts))
