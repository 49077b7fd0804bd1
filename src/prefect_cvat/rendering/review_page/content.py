"""What a page to review frames shows, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_cvat.frames import Frame
from prefect_cvat.geometry.bounding_box import BoundingBox

__all__ = [
    "KINDS",
    "Kind",
    "PageFrame",
    "PageImage",
    "PageRun",
    "PageSection",
    "PageShape",
    "count_figure",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of shapes: who has drawn them, or how they compare with the ground truth.

    Attributes:
        name: Its name among the filters.
        color: The color of its shapes, such as `#3ecf8e`; empty for the colors of their labels.
        is_dashed: Whether their outlines are dashed.
        is_named: Whether its name is part of the caption of a shape.
        is_mistake: Whether its shapes count as mistakes.
    """

    name: str
    color: str = ""
    is_dashed: bool = False
    is_named: bool = False
    is_mistake: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("machine"),
        Kind("manual", is_dashed=True),
        Kind("missed", "#ff5a5f", is_named=True, is_mistake=True),
        Kind("false alarm", "#ffb02e", is_named=True, is_mistake=True),
        Kind("wrong label", "#d08bff", is_mistake=True),
        Kind("found", "#3ecf8e"),
        Kind("truth", "#aab4c2", is_dashed=True),
    )
}
"""The kinds of shapes by name. `truth` is the manual shape of an object that was found."""


@dataclass(frozen=True, slots=True)
class PageShape:
    """A shape as it is drawn.

    Attributes:
        label: The name of its label.
        kind: The name of one of `KINDS`.
        style: `area`, `line` or `dots`.
        box: Left, top, right, bottom, in pixels of the image.
        path: Its outline as SVG path data, in pixels of the image; empty for an upright rectangle.
        score: Its score, if it has one.
        note: What follows the label in its caption, such as `#3`.
    """

    label: str
    kind: str
    style: str
    box: BoundingBox
    path: str = ""
    score: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class PageImage:
    """The image of a frame.

    Attributes:
        jpeg: The JPEG that is part of the page; empty if there is none.
        file: The address of a larger JPEG, relative to the page; empty if there is none.
    """

    jpeg: bytes = b""
    file: str = ""


@dataclass(frozen=True, slots=True)
class PageFrame:
    """A frame of a page.

    Attributes:
        frame: The frame.
        image: Its image.
        shapes: The shapes to draw.
        count: The number of all of its shapes.
        tags: The names of the labels of its tags.
        url: Its address in CVAT; empty without a server.
        corrections: The number of corrections that a human is expected to make; None if it is not known.
        doubts: The kinds of doubt, such as `low score`.
        reasons: Why it should be reviewed, in words.
        mistakes: The number of mistakes, of an evaluation.
    """

    frame: Frame
    image: PageImage
    shapes: Sequence[PageShape]
    count: int
    tags: Sequence[str] = ()
    url: str = ""
    corrections: float | None = None
    doubts: Sequence[str] = ()
    reasons: Sequence[str] = ()
    mistakes: int = 0


@dataclass(frozen=True, slots=True)
class PageSection:
    """A part of a page below the figures of a run.

    Attributes:
        title: Its heading.
        content: Its content as HTML.
        is_open: Whether the content is shown at first.
    """

    title: str
    content: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class PageRun:
    """A run on a page.

    Attributes:
        heading: What was done, such as `Task 12, street`.
        key: Identifies server, task and run: the browser keeps under it which frames have been looked at.
        frames: The frames, those to review first at the beginning.
        url: The address of the task in CVAT; empty without a server.
        subtitle: By what, and when.
        figures: Names and values of key figures.
        notes: Lines about the run.
        sections: More parts, such as tables.
        is_evaluation: Whether frames are ordered by mistakes, and not by expected corrections.
    """

    heading: str
    key: str
    frames: Sequence[PageFrame]
    url: str = ""
    subtitle: str = ""
    figures: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    sections: Sequence[PageSection] = ()
    is_evaluation: bool = False


def count_figure(count: int, noun: str) -> tuple[str, str]:
    """A key figure that is a number of things, such as `1` and `track`, or `1,204` and `frames`."""
    return noun if count == 1 else f"{noun}s", f"{count:,}"
