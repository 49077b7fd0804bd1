"""How a run is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prefect_cvat.client import Quality
from prefect_cvat.existing import Existing
from prefect_cvat.mapping import LabelMap
from prefect_cvat.plan import Selection

__all__ = ["Options"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is done; see `annotate_task` for the meaning of each."""

    selection: Selection = field(default_factory=Selection)
    existing: Existing = Existing.KEEP
    allow_unmatched_labels: bool = False
    label_map: LabelMap | None = None
    ignore_case: bool = False
    conf_threshold: float | None = None
    label_thresholds: Mapping[str, float] | None = None
    conv_mask_to_poly: bool = False
    on_frame_error: Literal["fail", "skip"] = "fail"
    quality: Quality = "original"
    batch_size: int | None = None
    use_cache: bool = True
    refresh_cache: bool = False
    downloads: int = 1
    window: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "existing", Existing(self.existing))
        if self.quality not in get_args(Quality):
            raise ValueError(f"quality must be 'original' or 'compressed', not {self.quality!r}")
        for name in ("batch_size", "downloads", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
