"""The code blocks of the guide, which is the text of a web page: nothing marks where code begins."""

import ast
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A block of code: from its first line, below a heading, to the heading that follows."""

    name: str
    heading: str
    first: str
    next_heading: str


BLOCKS = [
    Block("annotate_task", "Using annotate_task", "from cvat_sdk import Client", "Function Parameters"),
    Block("interface", "Function Interface", "import PIL.Image", "Detection Function Spec"),
    Block(
        "spec", "Detection Function Spec", "from cvat_sdk.auto_annotation import (", "Creating Annotations"
    ),
    Block(
        "annotations",
        "Creating Annotations",
        "from cvat_sdk.auto_annotation import (",
        "Detection Function Context",
    ),
    Block(
        "context",
        "Detection Function Context",
        "def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image):",
        "Built-in Detection Functions",
    ),
    Block(
        "detection",
        "Object Detection",
        "from cvat_sdk.auto_annotation.functions import torchvision_detection",
        "Instance Segmentation",
    ),
    Block(
        "segmentation",
        "Instance Segmentation",
        "from cvat_sdk.auto_annotation.functions import torchvision_instance_segmentation",
        "Classification",
    ),
    Block(
        "classification",
        "Classification",
        "from cvat_sdk.auto_annotation.functions import torchvision_classification",
        "Keypoint Detection",
    ),
    Block(
        "keypoints",
        "Keypoint Detection",
        "from cvat_sdk.auto_annotation.functions import torchvision_keypoint_detection",
        "Custom Model Example",
    ),
    Block("custom model", "Custom Model Example", "import torch", "Label Mapping"),
    Block("label mapping", "Label Mapping", "from cvat_sdk import models", "Progress Reporting"),
    Block("progress", "Progress Reporting", "from tqdm import tqdm", "Error Handling"),
    Block(
        "errors",
        "Error Handling",
        "from cvat_sdk.auto_annotation.exceptions import BadFunctionError",
        "Limitations",
    ),
]

_CODE = re.compile(
    r"\s*(from \S+ import\b|import \w|def \w|class \w+[:(]|@\w|return\b|try:|except\b|with .*:$|for .*:$|if .*:$)"
    r"|\s*[\w.]+\(.*\)?$"  # a call
    r"|\s*[\w.]+ = "
    r"|\s*[)\]}]+,?$"
    r"| {4}"
)


def code_blocks(text: str) -> dict[str, str]:
    """The code of the blocks, by name.

    Raises:
        ValueError: A block is not at its place, is not Python, or there is code outside the blocks.
    """
    lines = text.splitlines()
    found: dict[str, str] = {}
    at = 0
    for block in BLOCKS:
        heading = _find(lines, block.heading, at, block)
        first = _find(lines, block.first, heading, block)
        end = _find(lines, block.next_heading, first, block)
        _refuse_code(lines[at:first])
        found[block.name] = "\n".join(lines[first:end])
        ast.parse(found[block.name])
        at = end
    _refuse_code(lines[at:])
    return found


def _find(lines: list[str], line: str, start: int, block: Block) -> int:
    try:
        return lines.index(line, start)
    except ValueError:
        raise ValueError(f"block {block.name!r} is not found: there is no line {line!r} any more") from None


def _refuse_code(prose: list[str]) -> None:
    for line in prose:
        if _CODE.match(line):
            raise ValueError(f"this line is code, but in no block: {line!r}")
