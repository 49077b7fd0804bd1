"""A detector of blood cells: trained in minutes on a CPU, then used as a function.

The photographs are those of the BCCD data set (MIT): a folder with `images/*.jpg` and `annotations/*.xml` in
Pascal VOC's format. Every other one is trained on, so that the others can tell how good the detector is.
`learning_loop.py` begins with a few of them, and trains on what people have corrected.

    python examples/blood_cells.py ../bccd blood_cells.safetensors

    prefect-cvat --server-host cvat.example.com --auth alice evaluate 42 \
        --function-file examples/blood_cells.py -p weights=str:blood_cells.safetensors \
        --conf-threshold 0.02 --page evaluation.html
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

LABELS = ["RBC", "WBC", "Platelets"]
SIZE = 320, 240
"""Pixels of what the model sees, across and down."""

Target = dict[str, Tensor]

Photograph = tuple[Path, list[tuple[str, list[float]]]]
"""The file, and the labels and boxes on it."""


class BloodCells:
    """The detection function.

    Args:
        weights: The file that the training has written.
        score_threshold: The least score when the run sets no threshold.
    """

    spec = DetectionFunctionSpec(labels=[label_spec(name, i) for i, name in enumerate(LABELS, 1)])

    def __init__(self, weights: str, score_threshold: float = 0.5) -> None:
        self.score_threshold = score_threshold
        self.model = new_model().eval()
        self.model.load_state_dict(load_file(weights))

    def detect(self, context: Any, image: PIL.Image.Image) -> list[Any]:
        """Find cells."""
        threshold = context.conf_threshold
        if threshold is None:
            threshold = self.score_threshold
        with torch.inference_mode():
            [found] = self.model([to_tensor(image)])
        return [
            rectangle(label, box, score=score)
            for label, box, score in zip(
                found["labels"].tolist(), found["boxes"].tolist(), found["scores"].tolist(), strict=True
            )
            if score >= threshold
        ]


create = BloodCells


class Backbone(nn.Module):
    """A small network that gives features at strides of 8, 16 and 32 pixels."""

    out_channels = 64

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, 2), convolution(16, 32, 2), convolution(32, 32))
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(channels, 64, 2), convolution(64, 64)) for channels in (32, 64, 64)
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = {}
        values = self.stem(images)
        for number, level in enumerate(self.levels):
            features[str(number)] = values = level(values)
        return features


def convolution(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()
    )


def new_model() -> FCOS:
    """The detector of torchvision with the small network, not trained yet."""
    anchors = AnchorGenerator(sizes=((8,), (16,), (32,)), aspect_ratios=((1.0,),) * 3)
    return FCOS(
        Backbone(),
        num_classes=1 + len(LABELS),
        anchor_generator=anchors,
        min_size=SIZE[1],
        max_size=SIZE[0],
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
        score_thresh=0.02,
    )


def to_tensor(image: PIL.Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


def read_photographs(folder: Path) -> list[Photograph]:
    """The photographs in the order of their names, each with the labels and boxes on it."""
    photographs = []
    for path in sorted((folder / "annotations").glob("*.xml")):
        cells = []
        for item in ElementTree.parse(path).iter("object"):
            box = [float(item.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            if box[0] < box[2] and box[1] < box[3]:
                cells.append((item.findtext("name", ""), box))
        photographs.append((folder / "images" / f"{path.stem}.jpg", cells))
    return photographs


def train(
    photographs: list[Photograph],
    model: FCOS | None = None,
    *,
    epochs: int = 40,
    batch_size: int = 6,
    seed: int = 0,
) -> FCOS:
    """Train a new detector, or train one further."""
    torch.manual_seed(seed)
    chance = random.Random(seed)
    samples = [read_sample(*photograph) for photograph in photographs]
    model = (new_model() if model is None else model).train()
    steps = epochs * (len(samples) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(epochs):
        chance.shuffle(samples)
        losses = []
        for start in range(0, len(samples) - batch_size + 1, batch_size):
            batch = [flipped(*sample, chance) for sample in samples[start : start + batch_size]]
            loss = sum(model([image for image, _ in batch], [target for _, target in batch]).values())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.3f}", flush=True)
    return model


def read_sample(path: Path, cells: list[tuple[str, list[float]]]) -> tuple[Tensor, Target]:
    with PIL.Image.open(path, formats=["JPEG"]) as image:
        scale = SIZE[0] / image.width
        small = image.convert("RGB").resize(SIZE)
    boxes = torch.tensor([box for _, box in cells]) * scale
    return to_tensor(small), {
        "boxes": boxes,
        "labels": torch.tensor([1 + LABELS.index(name) for name, _ in cells]),
    }


def flipped(image: Tensor, target: Target, chance: random.Random) -> tuple[Tensor, Target]:
    boxes = target["boxes"].clone()
    for dimension, size, sides in ((2, SIZE[0], [0, 2]), (1, SIZE[1], [1, 3])):
        if chance.random() < 0.5:
            image = image.flip(dimension)
            boxes[:, sides] = size - boxes[:, sides].flip(1)
    return (image * chance.uniform(0.9, 1.1)).clamp(0, 1), {**target, "boxes": boxes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="the photographs")
    parser.add_argument("weights", type=Path, help="the file to write")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--even", action="store_true", help="train on the 2nd, 4th, ... photograph")
    arguments = parser.parse_args()
    photographs = read_photographs(arguments.folder)[arguments.even :: 2]
    save_file(train(photographs, epochs=arguments.epochs).state_dict(), arguments.weights)
    print(f"written to {arguments.weights}")


if __name__ == "__main__":
    main()
