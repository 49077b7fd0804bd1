"""The names of the classes of an ONNX model."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from prefect_cvat.auto_annotation.functions._classes import NOT_AN_OBJECT, Classes

__all__ = ["ClassNames", "check_background", "coco_names", "given_names", "names_in_metadata"]

_NOT_IN_COCO = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""The numbers of COCO's 91 categories that no object has."""


@dataclass(frozen=True)
class ClassNames:
    """Names by class number.

    Attributes:
        by_number: The names.
        is_complete: Whether all classes have names. Otherwise objects of other classes are dropped.
    """

    by_number: Mapping[int, str]
    is_complete: bool

    @property
    def count(self) -> int | None:
        """The number of classes, if it is known."""
        return len(self.by_number) if self.is_complete else None

    def classes(self) -> Classes:
        """The classes that are labels: not those that stand for no object, such as `__background__`."""
        return Classes({number: name for number, name in self.by_number.items() if name not in NOT_AN_OBJECT})


def given_names(labels: str | Sequence[str] | Mapping[int | str, str]) -> ClassNames:
    """Read the names that the user gives.

    Args:
        labels: Names in the order of the class numbers, from 0: in a list, in a text separated by commas,
            or in a text file, one a line; or a mapping from class numbers to names.

    Raises:
        ValueError: There are no names, a name is empty, or a key is not a number.
        FileNotFoundError: There is no such file.
    """
    if isinstance(labels, Mapping):
        try:
            by_number = {int(number): str(name) for number, name in labels.items()}
        except ValueError:
            raise ValueError(
                f"labels maps class numbers to names, not {', '.join(map(str, labels))}"
            ) from None
        return ClassNames(_checked(by_number), is_complete=False)
    if isinstance(labels, str):
        if _is_path(labels):
            if not Path(labels).is_file():
                raise FileNotFoundError(f"there is no file {labels!r} with labels, one a line")
            labels = Path(labels).read_text(encoding="utf-8").strip().splitlines()
        else:
            labels = labels.split(",")
    return ClassNames(_checked(dict(enumerate(name.strip() for name in labels))), is_complete=True)


def names_in_metadata(metadata: Mapping[str, str]) -> ClassNames | None:
    """Read the `names` that Ultralytics writes into a file: a dict or a list, in Python or JSON."""
    text = metadata.get("names")
    if text is None:
        return None
    for read in (ast.literal_eval, json.loads):
        try:
            names = read(text)
            pairs = names.items() if isinstance(names, dict) else enumerate(names)
            by_number = _checked({int(number): str(name) for number, name in pairs})
            return ClassNames(by_number, is_complete=set(by_number) == set(range(len(by_number))))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def coco_names(count: int | None) -> ClassNames | None:
    """The names of COCO's categories, for models that have 80 or 91 classes."""
    folder = resources.files("prefect_cvat.auto_annotation.functions") / "nanodet_coco"
    names: list[str] = json.loads(folder.joinpath("categories.json").read_text(encoding="utf-8"))
    if count == len(names) + len(_NOT_IN_COCO):
        numbers = [number for number in range(count) if number not in _NOT_IN_COCO]
        names_by_number = dict.fromkeys(_NOT_IN_COCO, "N/A") | dict(zip(numbers, names, strict=True))
        return ClassNames(names_by_number, is_complete=True)
    return ClassNames(dict(enumerate(names)), is_complete=True) if count == len(names) else None


def check_background(names: ClassNames) -> None:
    """Raise an error if it is unclear which name is that of class 0.

    Many trainings count classes from 1, as torchvision does, and others from 0. A wrong guess would shift
    all labels.
    """
    if names.is_complete and 0 in names.classes().names:
        raise ValueError(
            f"class 0 of torchvision's models is the background, but labels has {names.by_number[0]!r}."
            " Begin labels with __background__; or, if the model counts from 0, map class numbers to names:"
            ' {"0": ..., "1": ...}'
        )


def _is_path(text: str) -> bool:
    return "," not in text and (text.endswith(".txt") or "/" in text or "\\" in text)


def _checked(names: dict[int, str]) -> dict[int, str]:
    if not names or not all(name.strip() for name in names.values()):
        raise ValueError(f"labels has {'an empty name' if names else 'no names'}")
    return names
