"""The two libraries that functions may be written against, and the two that may run them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import cvat_sdk.attributes
import cvat_sdk.auto_annotation
import cvat_sdk.masks
import cvat_sdk.models
import pytest

import prefect_cvat.attributes
import prefect_cvat.auto_annotation
import prefect_cvat.masks
import prefect_cvat.models


@dataclass(frozen=True)
class Library:
    name: str
    cvataa: ModuleType
    models: ModuleType
    masks: ModuleType
    attributes: ModuleType

    @property
    def error(self) -> type[Exception]:
        return self.cvataa.BadFunctionError


SDK = Library("cvat_sdk", cvat_sdk.auto_annotation, cvat_sdk.models, cvat_sdk.masks, cvat_sdk.attributes)
OURS = Library(
    "prefect_cvat",
    prefect_cvat.auto_annotation,
    prefect_cvat.models,
    prefect_cvat.masks,
    prefect_cvat.attributes,
)

in_both = pytest.mark.parametrize("lib", [SDK, OURS], ids=lambda lib: lib.name)


@dataclass(frozen=True)
class Pairing:
    """A function written with one library, run by one."""

    written: Library
    run: Library

    def __str__(self) -> str:
        return f"{self.written.name} run by {self.run.name}"


BY_SDK = Pairing(SDK, SDK)
SDK_BY_US = Pairing(SDK, OURS)
BY_US = Pairing(OURS, OURS)


def assert_says_what_the_sdk_says(sdk: object, ours: object) -> None:
    """All words of the SDK's message are in ours, in the first of the problems if there are several."""
    lines = str(ours).splitlines()
    first = lines[1] if lines[0].endswith("points:") else lines[0]
    missing = [part for part in str(sdk).split(": ") if part not in first]
    assert not missing, f"{missing} is not in {first!r}"


Detect = Callable[[Any, Any], Any]


def a_function(spec: Any, detect: Detect) -> SimpleNamespace:
    return SimpleNamespace(spec=spec, detect=detect)
