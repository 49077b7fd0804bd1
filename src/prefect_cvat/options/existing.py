"""What becomes of the annotations that a task has already."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["Existing", "ExistingSource"]


class Existing(StrEnum):
    """What becomes of the annotations that a task has already.

    Attributes:
        KEEP: They stay.
        CLEAR: They are removed, whoever made them, once their replacement stands. Those on frames that the
            run leaves out stay.
        REPLACE_AUTO: As CLEAR, but only of those of source `auto`; what a human made, or has corrected,
            stays.
    """

    KEEP = "keep"
    CLEAR = "clear"
    REPLACE_AUTO = "replace_auto"

    def removes(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation that was there before the run is to go."""
        match self:
            case Existing.KEEP:
                return False
            case Existing.CLEAR:
                return True
            case Existing.REPLACE_AUTO:
                return annotation.get("source") == "auto"


class ExistingSource(StrEnum):
    """Whose annotations count as existing ones, where a run leaves out what is annotated already.

    Attributes:
        MANUAL: What humans have drawn, imported or corrected: whatever is not of source `auto`.
        AUTO: What machines have made.
        ALL: Both.
    """

    MANUAL = "manual"
    AUTO = "auto"
    ALL = "all"

    def includes(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation counts."""
        is_auto = annotation.get("source") == "auto"
        match self:
            case ExistingSource.MANUAL:
                return not is_auto
            case ExistingSource.AUTO:
                return is_auto
            case ExistingSource.ALL:
                return True
