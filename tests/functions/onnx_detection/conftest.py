"""Models that are exported to ONNX, and photographs."""

import PIL.Image
import pytest
import torch

from onnx_exports import ANY_BATCH, ANY_SIZE, SIZE, YOLO_METADATA, OneImage, RawYolo, export
from prefect_cvat.auto_annotation.functions.nanodet_coco import INPUT_SIZE, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def pictures(test_data):
    """Photographs of several sizes and shapes."""
    paths = sorted((test_data / "coco-photos" / "images").glob("*.jpg"))[:5]
    return [PIL.Image.open(path).convert("RGB") for path in paths]


@pytest.fixture(scope="module")
def raw_yolo():
    return RawYolo()


@pytest.fixture(scope="module")
def yolo_file(folder, raw_yolo):
    """A YOLO for one image of 256 x 192 pixels."""
    images = torch.zeros(1, 3, *SIZE)
    return export(raw_yolo, folder / "yolo.onnx", (images,), ["output0"], metadata=YOLO_METADATA)


@pytest.fixture(scope="module")
def dynamic_yolo_file(folder, raw_yolo):
    """A YOLO for any number of images of any size."""
    return export(
        raw_yolo,
        folder / "dynamic.onnx",
        (torch.zeros(2, 3, *SIZE),),
        ["output0"],
        dynamic={"image": ANY_BATCH | ANY_SIZE, "output0": {0: "batch", 1: "rows", 2: "anchors"}},
        metadata=YOLO_METADATA,
    )


@pytest.fixture(scope="module")
def nanodet_file(folder):
    model = OneImage(load_model(score_thresh=0.05))
    image = torch.rand(3, INPUT_SIZE, INPUT_SIZE)
    return export(model, folder / "nanodet.onnx", (image,), ["boxes", "labels", "scores"])
