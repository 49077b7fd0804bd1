"""Puts shapes to tracks by the numbers of objects that a function gives them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from prefect_cvat.exceptions import BadFunctionError

__all__ = ["GivenObjects"]


class GivenObjects:
    """The objects that a function finds and follows itself.

    Args:
        dropped: Returns the numbers of objects whose shapes are left out.
    """

    def __init__(self, dropped: Callable[[], Collection[int]]) -> None:
        self._dropped = dropped

    def update(self, frame: int, shapes: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
        """Put the shapes of the next frame to tracks.

        Args:
            frame: The frame's number.
            shapes: Its shapes, as the server's JSON objects; `group` is the number of the object.

        Returns:
            Numbers and shapes.

        Raises:
            BadFunctionError: A shape has no number, or two have the same.
        """
        dropped = self._dropped()
        found: dict[int, dict[str, Any]] = {}
        for shape in shapes:
            number = shape.pop("group", 0)
            if number in found or not number:
                problem = "two shapes with the same" if number else "a shape without a"
                raise BadFunctionError(
                    f"frame {frame}: function output {problem} number of its object ('group'); a function"
                    " with 'begin_video' numbers the objects of a video, from 1"
                )
            if number not in dropped:
                found[number] = shape
        return list(found.items())
