"""Takes no device; runs one on tiles that takes it, and is made for the labels of a task."""

from prefect_cvat.auto_annotation.functions import tiled


def create():
    return tiled.create("flow_functions.words_on_device")
