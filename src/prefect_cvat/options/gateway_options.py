"""Options of the gateway, which serves functions to CVAT's own pages."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from prefect_cvat.options.option_base import OptionModel

__all__ = ["GatewayOptions"]


class GatewayOptions(OptionModel):
    """Where the gateway listens, and how much it takes on at a time."""

    group: ClassVar[str] = "Gateway"

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes any free one.")] = 8070
    preload: Annotated[
        bool, Field(description="Load all functions at the start, instead of each at its first call.")
    ] = False
    max_calls: Annotated[
        int, Field(ge=1, description="Maximum number of calls at a time; others are refused with 503.")
    ] = 64
    max_body_bytes: Annotated[
        int, Field(ge=2**20, description="Maximum size of a call, whose image is in base64.")
    ] = 64 * 2**20
    image_cache_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="Maximum memory for what interaction and tracking functions prepare of images.",
        ),
    ] = 512 * 2**20
    max_tracks: Annotated[
        int, Field(ge=1, description="Maximum number of tracked objects; the oldest are forgotten.")
    ] = 1000
    track_bytes: Annotated[
        int, Field(ge=0, description="Maximum memory for tracked objects; the oldest are forgotten.")
    ] = 2**30
    track_minutes: Annotated[
        float, Field(gt=0, description="Minutes after which an object that is not asked for is forgotten.")
    ] = 480.0
    grace_seconds: Annotated[
        float, Field(ge=0, description="How long calls may still take after SIGTERM, in seconds.")
    ] = 25.0
