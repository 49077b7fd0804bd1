"""Options for the seconds that each action of a corrector takes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["CorrectionSeconds"]

_Seconds = Annotated[float, Field(ge=0, le=3600), OnCommandLine(metavar="SECONDS")]


class CorrectionSeconds(OptionModel):
    """The seconds that each action of a corrector takes. Measured values of your own people are better.

    Sources:
        `draw_box`: 7.0 s by clicking the four extreme points, which CVAT offers as "by 4 points"
        (Papadopoulos et al., Extreme clicking for efficient object annotation, ICCV 2017). Dragging a box and
        adjusting its corners took 25.5 s in the interface of ImageNet (Su et al. 2012, as cited by
        Konyushkova et al., CVPR 2018). The lower value keeps estimates of saved time low.
        `draw_outline`: 54 s, the lower of the two times for the outline of one object that Bearman et al.
        cite (What's the point, ECCV 2016); the other is 79 s, for COCO.
        All others are sums of operators of the keystroke-level model (Card, Moran and Newell 1980): 1.35 s to
        decide, 1.1 s to point, 0.2 s for a click or a key. Which operators an action needs is our judgement.
        `accepted_iou`: our judgement. Boxes that two people draw of one object differ, too.
    """

    group: ClassVar[str] = "Seconds of each action"

    draw_box: Annotated[_Seconds, Field(description="Draw a box, an ellipse or a cuboid.")] = 7.0
    draw_outline: Annotated[_Seconds, Field(description="Draw a polygon or a mask.")] = 54.0
    draw_point: Annotated[
        _Seconds,
        Field(description="Place a point, or a keypoint of a skeleton: decide, point, click."),
    ] = 2.7
    add_tag: Annotated[_Seconds, Field(description="Tag a frame: decide, point and click in two places.")] = (
        4.0
    )
    move_edge: Annotated[
        _Seconds,
        Field(
            title="Move an edge",
            description="Drag an edge, a corner, a point, or a shape: decide, point, press, point, release.",
        ),
    ] = 3.8
    change_label: Annotated[
        _Seconds, Field(description="Change a label: decide, point and click in two places.")
    ] = 4.0
    delete_shape: Annotated[
        _Seconds, Field(title="Delete", description="Delete an annotation: decide, point, press a key.")
    ] = 2.7
    confirm: Annotated[
        _Seconds, Field(description="Look at an annotation of the run: decide, press a key for the next one.")
    ] = 1.6
    accepted_iou: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Accepted IoU",
            description=(
                "In an estimate before anybody has corrected: IoU with the object from which a shape is left"
                " as it is."
            ),
        ),
    ] = 0.8
