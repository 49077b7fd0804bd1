"""What has become of one annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Correction", "CorrectionKind"]

CorrectionKind = Literal["confirmed", "moved", "relabelled", "deleted", "drawn"]


@dataclass(frozen=True, slots=True)
class Correction:
    """What has become of an annotation that a run wrote, or an annotation that a person has drawn.

    Attributes:
        kind: `confirmed`: label and place are unchanged, on a frame that somebody has looked at. `moved`: its
            outline was changed. `relabelled`: its label was changed, and perhaps its outline (`is_moved`).
            `deleted`: it is gone. `drawn`: a person has added it.
        frame: The number of the frame; of a track, that of its first keyframe.
        label: The name of its label now; of a deleted one, the label that the run gave it.
        written: The shape, tag or track as the run sent it, with its `score`; None for a drawn one, and for a
            changed one whose run was recorded by an earlier version.
        current: The annotation as it is now, as the server's JSON object; None for a deleted one.
        function: The name of the function; None for a drawn one, and if no recorded run has written it.
        run_key: The id of the run; empty likewise.
        written_label: The name of the label that the run gave it; None if `written` is None.
        is_moved: Whether its outline was changed: of `moved`, and of some that are `relabelled`.
    """

    kind: CorrectionKind
    frame: int
    label: str
    written: Mapping[str, Any] | None
    current: Mapping[str, Any] | None
    function: str | None
    run_key: str
    written_label: str | None = None
    is_moved: bool = False

    @property
    def score(self) -> float | None:
        """The score that the run gave it, 0 to 1; None for tags, tracks and drawn annotations."""
        shape = self.written or {}
        return float(shape["score"]) if "type" in shape and shape.get("score") is not None else None
