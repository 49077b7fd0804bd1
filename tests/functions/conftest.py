"""What the tests of the built-in functions share: data, contexts, photos, and models by name."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import skimage.data
import torch
from torch import nn
from torchvision.models import ResNet50_Weights, Weights, WeightsEnum
from torchvision.models._api import register_model  # there is no public way
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_Weights,
    KeypointRCNN_ResNet50_FPN_Weights,
)

from prefect_cvat.auto_annotation import DetectionFunctionContext
from random_models import build_classifier, build_detector, build_keypoint_rcnn, build_mask_rcnn
from sam3_models import write_tiny_sam3


@dataclass(frozen=True)
class Context(DetectionFunctionContext):
    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False
    frame_name: str = "frame.jpg"


@pytest.fixture
def context() -> Callable[..., DetectionFunctionContext]:
    return Context


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch: more only wait for each other over the matrices of tiny models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sam3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny SAM 3 with random weights."""
    folder = tmp_path_factory.mktemp("sam3")
    write_tiny_sam3(folder)
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of data that are for tests only."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PREFECT_CVAT_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set PREFECT_CVAT_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def photos() -> list[PIL.Image.Image]:
    """Three photos of different sizes."""
    photos = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    return [PIL.Image.fromarray(photo) for photo in photos]


@pytest.fixture(scope="session")
def random_detector() -> nn.Module:
    return build_detector()


@pytest.fixture(scope="session")
def random_mask_rcnn() -> nn.Module:
    return build_mask_rcnn()


@pytest.fixture(scope="session")
def random_keypoint_rcnn() -> nn.Module:
    return build_keypoint_rcnn()


@pytest.fixture(scope="session")
def random_classifier() -> nn.Module:
    return build_classifier()


@pytest.fixture(scope="session")
def register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Registers a model with torchvision, with its weights in a file, so that it can be had by name."""
    folder = tmp_path_factory.mktemp("weights")
    hub = torch.hub.get_dir()
    torch.hub.set_dir(folder / "hub")

    def register(
        name: str,
        build: Callable[..., nn.Module],
        transforms: Callable[[], object],
        meta: dict[str, object],
    ) -> str:
        file = folder / f"{name}.pth"
        torch.save(build().state_dict(), file)
        weights = Weights(file.as_uri(), transforms, meta)
        weights_of_model = WeightsEnum(f"{name}_weights", {"RANDOM": weights, "DEFAULT": weights})

        @register_model(name=name)
        def get(
            *, weights: weights_of_model | None = None, progress: bool = True, **options: Any
        ) -> nn.Module:
            model = build(**options)
            if weights is not None:
                model.load_state_dict(weights.get_state_dict(progress=progress))
            return model

        return name

    yield register
    torch.hub.set_dir(hub)


OF_DETECTORS = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.transforms
OF_CLASSIFIERS = ResNet50_Weights.IMAGENET1K_V1.transforms


@pytest.fixture(scope="session")
def detector_name(register: Callable[..., str]) -> str:
    categories = ["__background__", "N/A", "person", "bicycle", "car"]
    return register("random_detector", build_detector, OF_DETECTORS, {"categories": categories})


@pytest.fixture(scope="session")
def mask_rcnn_name(register: Callable[..., str]) -> str:
    categories = ["__background__", "person", "bicycle", "car", "motorcycle"]
    return register("random_mask_rcnn", build_mask_rcnn, OF_DETECTORS, {"categories": categories})


@pytest.fixture(scope="session")
def keypoint_rcnn_name(register: Callable[..., str]) -> str:
    meta = {
        "categories": ["no person", "person"],
        "keypoint_names": KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"],
    }
    return register("random_keypoint_rcnn", build_keypoint_rcnn, OF_DETECTORS, meta)


@pytest.fixture(scope="session")
def classifier_name(register: Callable[..., str]) -> str:
    categories = ["cat", "dog", "bird", "crane", "crane", "fish"]
    return register("random_classifier", build_classifier, OF_CLASSIFIERS, {"categories": categories})
