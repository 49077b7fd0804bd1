"""What the tests on a GPU share: the device, photographs, and a comparison of detections."""

import os

import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.frames import Frame
from prefect_cvat.inference.detection_calls import DetectionContext
from prefect_cvat.inference.detector import Detector

DEVICE = os.environ.get("PREFECT_CVAT_TEST_DEVICE", "cuda")
"""`cpu` tries most of these tests without a GPU."""


@pytest.fixture(scope="session")
def device():
    """The device under test; the tests are skipped where there is none."""
    if DEVICE.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is False")
    return DEVICE


@pytest.fixture(scope="session")
def cuda(device):
    if not device.startswith("cuda"):
        pytest.skip(f"needs a GPU, not {device}")
    return device


@pytest.fixture
def _exact(device):
    """Compute in 32 bits, as the CPU does, and not in TF32, in which torch computes convolutions."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture(scope="session")
def photos():
    """Photographs of several sizes, some of one size so that they are in one batch."""
    images = [PIL.Image.fromarray(each()) for each in (skimage.data.astronaut, skimage.data.coffee)]
    images += [image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    return [*images, PIL.Image.fromarray(skimage.data.chelsea())] * 2


@pytest.fixture
def detections(photos):
    """Runs a function on the photographs as a run does; returns what it found on each."""

    def detect(function, conf_threshold=None):
        opened = [
            (Frame(number, f"{number}.jpg", *photo.size), photo.copy()) for number, photo in enumerate(photos)
        ]
        found = list(Detector(function, conf_threshold=conf_threshold).detect(opened))
        assert [each.frame for each in found] == list(range(len(photos)))
        return found

    return detect


@pytest.fixture
def context():
    return DetectionContext("a.jpg", conf_threshold=0.0)
