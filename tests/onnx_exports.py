"""Detectors of torch that are exported to ONNX, with the shapes and names of outputs that users meet."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

YOLO_CLASSES = ("cat", "dog", "bird")
YOLO_METADATA = {
    "task": "detect",
    "stride": 32,
    "names": dict(enumerate(YOLO_CLASSES)),
    "imgsz": [192, 256],
}
SIZE = (192, 256)
ANY_BATCH = {0: "batch"}
ANY_SIZE = {2: "height", 3: "width"}


def export(
    model: nn.Module,
    path: Path,
    inputs: tuple[Any, ...],
    output_names: Sequence[str] | None,
    *,
    dynamic: dict[str, dict[int, str]] | None = None,
    metadata: dict[str, object] | None = None,
    input_names: Sequence[str] = ("image",),
    half: bool = False,
) -> Path:
    """Export a model, and write metadata into the file."""
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about tracing
        torch.onnx.export(
            model.eval(),
            inputs,
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=list(input_names),
            output_names=output_names and list(output_names),
            dynamic_axes=dynamic or {},
        )
    loaded = onnx.load(path)
    onnx.helper.set_model_props(loaded, {key: str(value) for key, value in (metadata or {}).items()})
    onnx.save(loaded, path)
    return path


class OneImage(nn.Module):
    """A detector that is called like torchvision's, for one image, and returns three tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        [found] = self.model([image])
        return found["boxes"], found["labels"], found["scores"]


class RawYolo(nn.Module):
    """A network with the output of an exported YOLO, `[B, 4 + classes, anchors]`, and random weights."""

    def __init__(self, stride: int = 32, classes: int = len(YOLO_CLASSES)) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stride = stride
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 8, stride=8),
            nn.ReLU(),
            nn.Conv2d(16, 16, stride // 8, stride=stride // 8),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(16, 4 + classes, 3, padding=1)
        with torch.no_grad():
            self.head.weight[4:].mul_(40)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.head(self.features(images))
        rows = torch.arange(maps.shape[2])[:, None] * self.stride + self.stride / 2
        columns = torch.arange(maps.shape[3])[None] * self.stride + self.stride / 2
        moved, sizes = maps[:, :2].tanh() * self.stride, maps[:, 2:4].sigmoid() * self.stride * 6
        x, y = moved[:, 0] + columns, moved[:, 1] + rows
        boxes = torch.stack([x, y, sizes[:, 0], sizes[:, 1]], dim=1)
        return torch.cat([boxes, maps[:, 4:].sigmoid()], dim=1).flatten(2)


class EndToEndYolo(nn.Module):
    """The output of `RawYolo` as rows of objects, `[B, N, 6]`, of which the last have score 0."""

    def __init__(self, model: RawYolo, rows: int = 20) -> None:
        super().__init__()
        self.model = model
        self.rows = rows

    def forward(self, images: Tensor) -> Tensor:
        raw = self.model(images).transpose(1, 2)
        scores, classes = raw[..., 4:].max(2)
        scores, order = scores.topk(self.rows, dim=1)
        half = raw[..., 2:4] / 2
        boxes = torch.cat([raw[..., :2] - half, raw[..., :2] + half], dim=2)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        rows = torch.cat([boxes, scores[..., None], classes.gather(1, order)[..., None].float()], dim=2)
        return torch.cat([rows, torch.zeros_like(rows)], dim=1)


class AsTyped(nn.Module):
    """A model for images `[B, H, W, 3]` of another type, as some exports have them."""

    def __init__(self, model: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.convert = convert

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self.convert(images))
