"""Parts of the figures that are drawn with matplotlib."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

__all__ = ["new_figure", "png_of", "short_label", "show_as_plain_text"]


def new_figure(width: float, height: float, dpi: int) -> tuple[Figure, Axes]:
    """Create a figure of this size, in inches, with one pair of axes."""
    from matplotlib.figure import Figure  # slow to import. pyplot is not safe in threads.

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    return figure, figure.add_subplot()


def show_as_plain_text(legend: Legend) -> None:
    """Keep matplotlib from reading names with dollar signs as formulas."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def short_label(name: str, max_length: int = 24) -> str:
    """The name of a label, cut to `max_length` characters."""
    return name if len(name) <= max_length else f"{name[: max_length - 1]}…"


def png_of(figure: Figure) -> bytes:
    """Render a figure as a PNG."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font does not have
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
