"""The network of NanoDet, which is called like one of torchvision's detectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, clip_boxes_to_image

__all__ = ["INPUT_SIZE", "NanoDet", "load_categories", "load_model"]

INPUT_SIZE = 416
"""Width and height, in pixels, of what the network sees of every image."""

_STRIDES = (8, 16, 32)
_BINS = 11
_MEAN_BGR = (103.53, 116.28, 123.675)
_STD_BGR = (57.375, 57.12, 58.395)


def load_categories() -> list[str]:
    """Return the names of the 80 classes of COCO; a class's number is its place in the list."""
    text = resources.files(__package__).joinpath("categories.json").read_text(encoding="utf-8")
    categories: list[str] = json.loads(text)
    return categories


def load_model(*, score_thresh: float = 0.05) -> NanoDet:
    """Return the network with its weights, in evaluation mode, on the CPU.

    Args:
        score_thresh: As for `NanoDet`.
    """
    model = NanoDet(score_thresh=score_thresh)
    data = resources.files(__package__).joinpath("weights.safetensors").read_bytes()
    tensors = safetensors.torch.load(data)
    # The file numbers the convolutions in the order in which an image passes them.
    for number, convolution in enumerate(model.network.convolutions()):
        convolution.load_state_dict(
            {name: tensors.pop(f"conv{number:02d}.{name}") for name in ("weight", "bias")}
        )
    if tensors:
        raise ValueError(f"weights.safetensors has tensors that the network has not: {sorted(tensors)}")
    # This layout halves the time on a CPU.
    return model.eval().to(memory_format=torch.channels_last)


class NanoDet(nn.Module):
    """NanoDet: a small one-stage detector without anchor boxes.

    Args:
        num_classes: The number of classes.
        score_thresh: Boxes with a score of this or less are left out.
        nms_thresh: Of two boxes of one class that overlap by more than this (intersection over
            union), the one with the lower score is left out.
        detections_per_img: The greatest number of boxes of an image, those with the best scores.
        topk_candidates: The greatest number of candidates that compete for these places.
    """

    def __init__(
        self,
        num_classes: int = 80,
        *,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.6,
        detections_per_img: int = 100,
        topk_candidates: int = 1000,
    ) -> None:
        super().__init__()
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.topk_candidates = topk_candidates
        self.network = _Network(num_classes)

    def forward(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Detect objects, for inference only.

        Args:
            images: Images of any sizes, float tensors `[3, H, W]`, RGB, 0 to 1.

        Returns:
            For each image `boxes` `[N, 4]` as `x1, y1, x2, y2` in its pixels, `labels` `[N]` (class
            numbers from 0) and `scores` `[N]`, the best first.
        """
        if not images:
            return []
        batch = torch.cat([self._resized(image) for image in images])
        boxes, scores = self.network(batch)
        return [
            self._selected(image_boxes, image_scores, (image.shape[-2], image.shape[-1]))
            for image_boxes, image_scores, image in zip(boxes, scores, images, strict=True)
        ]

    def _resized(self, image: Tensor) -> Tensor:
        if image.shape[-2:] == (INPUT_SIZE, INPUT_SIZE):
            return image[None]
        return functional.interpolate(
            image[None], size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False, antialias=True
        )

    def _selected(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Choose the boxes of one image and scale them to its size, `(height, width)`."""
        num_classes = scores.shape[1]
        best, order = scores.flatten().topk(min(self.topk_candidates, scores.numel()))
        order = order[best > self.score_thresh]
        best = best[best > self.score_thresh]
        labels = order % num_classes
        height, width = size
        scale = boxes.new_tensor([width, height, width, height]) / INPUT_SIZE
        boxes = clip_boxes_to_image(boxes[order // num_classes] * scale, size)
        keep = batched_nms(boxes, best, labels, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[keep], "labels": labels[keep], "scores": best[keep]}


class _Network(nn.Module):
    """From images of the network's size to a box and the scores of all classes for every cell."""

    mean: Tensor
    std: Tensor
    cells: Tensor
    bins: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = _activated(3, 32, stride=2)
        self.stages = nn.ModuleList(
            [
                _CrossStage(32, 32, pairs=1, stride=1),
                _CrossStage(64, 64, pairs=2, stride=2),
                _CrossStage(128, 128, pairs=2, stride=2),
                _CrossStage(256, 256, pairs=3, stride=2),
            ]
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channels, 128, 1) for channels in (128, 256, 512))
        self.heads = nn.ModuleList(
            nn.Sequential(_activated(128, 128), nn.Conv2d(128, num_classes + 4 * _BINS, 1)) for _ in _STRIDES
        )
        self.register_buffer("mean", torch.tensor(_MEAN_BGR).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD_BGR).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("cells", _cells(), persistent=False)
        self.register_buffer("bins", torch.arange(_BINS, dtype=torch.float32), persistent=False)

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Yield the convolutions in the order in which an image passes them."""
        yield from _convolutions_of(self.stem)
        first, *others = self.stages
        yield from _convolutions_of(first)
        for stage, lateral in zip(others, self.laterals, strict=True):
            yield from _convolutions_of(stage)
            yield from _convolutions_of(lateral)
        yield from _convolutions_of(self.heads)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes `[B, cells, 4]` in the network's pixels, and scores `[B, cells, classes]`."""
        outputs = self._levels(batch.flip(1).mul(255).sub(self.mean).div(self.std))
        cells = torch.cat([output.flatten(2) for output in outputs], dim=2).transpose(1, 2).float()
        scores = cells[..., : self.num_classes].sigmoid()
        return self._decoded(cells[..., self.num_classes :]), scores

    def _levels(self, batch: Tensor) -> list[Tensor]:
        """Return the heads' outputs `[B, classes + 4 * bins, H, W]`, finest level first."""
        x = functional.max_pool2d(self.stem(batch), kernel_size=3, stride=2, padding=1)
        x = self.stages[0](x)
        levels = []
        for stage, lateral in zip(self.stages[1:], self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for finer in (1, 0):
            levels[finer] = levels[finer] + _resized_like(levels[finer + 1], levels[finer])
        for coarser in (1, 2):
            levels[coarser] = levels[coarser] + _resized_like(levels[coarser - 1], levels[coarser])
        return [head(level) for head, level in zip(self.heads, levels, strict=True)]

    def _decoded(self, distances: Tensor) -> Tensor:
        """Turn distributions over distances `[B, cells, 4 * bins]` into boxes in the network's pixels."""
        sides = (distances.reshape(*distances.shape[:2], 4, _BINS).softmax(3) * self.bins).sum(3)
        x, y, stride = self.cells.unbind(1)
        left, top, right, bottom = (sides * stride[:, None]).unbind(2)
        return torch.stack([x - left, y - top, x + right, y + bottom], dim=2)


class _CrossStage(nn.Module):
    """A stage of the backbone: pairs of convolutions, with shortcuts by concatenation.

    The output has twice `out_channels` channels.
    """

    def __init__(self, in_channels: int, out_channels: int, *, pairs: int, stride: int) -> None:
        super().__init__()
        self.entry = _activated(in_channels, out_channels, stride=stride)
        self.pairs = nn.Sequential(*(_Pair(out_channels) for _ in range(pairs)))
        self.exit = _activated(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        entry = self.entry(x)
        return torch.cat([self.exit(self.pairs(entry)), entry], dim=1)


class _Pair(nn.Module):
    """Two convolutions, each of which makes half of the channels of the output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _activated(channels, channels // 2)
        self.second = _activated(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        half = self.first(x)
        return torch.cat([self.second(half), half], dim=1)


def _activated(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1),
        nn.LeakyReLU(0.1),
    )


def _convolutions_of(module: nn.Module) -> Iterator[nn.Conv2d]:
    return (each for each in module.modules() if isinstance(each, nn.Conv2d))


def _resized_like(level: Tensor, other: Tensor) -> Tensor:
    return functional.interpolate(level, size=other.shape[-2:], mode="bilinear", align_corners=False)


def _cells() -> Tensor:
    """Return the centre (x, y) and the stride of every cell, in the network's pixels, `[cells, 3]`."""
    levels = []
    for stride in _STRIDES:
        centres = (torch.arange(INPUT_SIZE // stride) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        levels.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), float(stride))], dim=1))
    return torch.cat(levels)
