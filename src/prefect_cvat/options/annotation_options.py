"""Options for the annotations that are written."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["AnnotationOptions"]

_AttributeName = Annotated[
    str | None, BeforeValidator(lambda name: name or None), OnCommandLine(metavar="NAME")
]
"""The name of an attribute; an empty name, from a form or the command line, means None."""


class AnnotationOptions(OptionModel):
    """Options for the written annotations."""

    group: ClassVar[str] = "Annotations that are written"

    conv_mask_to_poly: Annotated[
        bool, Field(title="Masks as polygons", description="Write polygons instead of masks.")
    ] = False
    score_attribute: Annotated[
        _AttributeName,
        Field(
            description=(
                "Attribute of the task's labels, of type text or number, that gets the score of each"
                " annotation where a label has it; empty for none."
            )
        ),
    ] = "score"
    model_attribute: Annotated[
        _AttributeName,
        Field(
            description=(
                "Attribute of the task's labels, of type text, select or radio, that gets the name of the"
                " function where a label has it; empty for none."
            )
        ),
    ] = "model"
