"""A function for the SDK that is made by `create`, as cvat-cli takes it by --function-file and -p."""

from __future__ import annotations

from dataclasses import dataclass, field

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import models


@dataclass
class Function:
    size: float
    label: str = "car"
    seen: list[str] = field(default_factory=list)

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        return cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec(self.label, 77)])

    def detect(self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image):
        self.seen.append(context.frame_name)
        yield models.LabeledShapeRequest(
            type="rectangle", label_id=77, frame=0, points=[1.0, 2.0, 1.0 + self.size, image.height - 1.0]
        )


create = Function
