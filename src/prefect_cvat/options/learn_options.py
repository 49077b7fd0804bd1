"""Options for learning from corrections."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import Field, PlainValidator

from prefect_cvat.options.frame_options import NUMBERS_IN_FORM, TEXT_IN_JSON, read_frame_numbers
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["LearnOptions"]


class LearnOptions(OptionModel):
    """Options for the frames to learn from."""

    group: ClassVar[str] = "Corrections"

    looked_at: Annotated[
        Collection[int] | None,
        PlainValidator(read_frame_numbers),
        TEXT_IN_JSON,
        NUMBERS_IN_FORM,
        OnCommandLine(metavar="RANGES"),
        Field(
            title="Frames without mistakes",
            description=(
                "Frames that somebody has looked at and found right, such as 0-99,150; frames with"
                " corrections and those of completed jobs count anyway."
            ),
        ),
    ] = None
