"""The classes of a model, and their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["NOT_AN_OBJECT", "Classes"]

NOT_AN_OBJECT = frozenset({"__background__", "no person", "N/A"})
"""The names of background classes in torchvision's weights."""


@dataclass(frozen=True)
class Classes:
    """The classes of a model that are of interest.

    Attributes:
        names: Name by class number. Several numbers may have one name; the label then has the
            least of them as its id.
    """

    names: Mapping[int, str]
    label_ids: Mapping[int, int] = field(init=False)
    """The id of the label by class number."""

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("label_map is empty; the function could never find anything")
        by_name: dict[str, int] = {}
        for number, name in sorted(self.names.items()):
            by_name.setdefault(name, number)
        object.__setattr__(self, "label_ids", {number: by_name[name] for number, name in self.names.items()})

    def label_names(self) -> Iterator[tuple[int, str]]:
        """Yield id and name of every label."""
        return ((number, name) for number, name in self.names.items() if self.label_ids[number] == number)
