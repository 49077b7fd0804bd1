"""How a run is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prefect_cvat.frames import Quality
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.options.label_map import LabelMap
from prefect_cvat.options.selection import Selection

__all__ = ["Options"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is done; see `annotate_task` for the meaning of each."""

    selection: Selection = field(default_factory=Selection)
    existing: Existing = Existing.KEEP
    skip_existing_iou: float | None = None
    skip_existing_source: ExistingSource = ExistingSource.MANUAL
    allow_unmatched_labels: bool = False
    label_map: LabelMap | None = None
    ignore_case: bool = False
    conf_threshold: float | None = None
    label_thresholds: Mapping[str, float] | None = None
    conv_mask_to_poly: bool = False
    score_attribute: str | None = "score"
    model_attribute: str | None = "model"
    on_frame_error: Literal["fail", "skip"] = "fail"
    quality: Quality = "original"
    batch_size: int | None = None
    use_cache: bool = True
    refresh_cache: bool = False
    downloads: int = 1
    window: int = 4
    review_frames: int = 20
    open_issues: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "existing", Existing(self.existing))
        object.__setattr__(self, "skip_existing_source", ExistingSource(self.skip_existing_source))
        if (iou := self.skip_existing_iou) is not None:
            if not 0 < iou <= 1:
                raise ValueError(
                    f"{argument('skip_existing_iou')} must be above 0 and not above 1, not {iou}"
                )
            if self.existing is Existing.CLEAR:
                raise ValueError(
                    f"{argument('skip_existing_iou')} leaves room for existing annotations, and"
                    f" {argument('existing', 'clear')} removes them; use {argument('existing', 'keep')}"
                    + (", or 'replace_auto'" if self.skip_existing_source is ExistingSource.MANUAL else "")
                )
            source = self.skip_existing_source
            if self.existing is Existing.REPLACE_AUTO and source is not ExistingSource.MANUAL:
                raise ValueError(
                    f"{argument('skip_existing_source', source)} leaves room for what machines have made, and"
                    f" {argument('existing', 'replace_auto')} removes that; use"
                    f" {argument('existing', 'keep')}, or {argument('skip_existing_source', 'manual')}"
                )
        elif self.skip_existing_source is not ExistingSource.MANUAL:
            raise ValueError(
                f"{argument('skip_existing_source')} says whose annotations count for"
                f" {argument('skip_existing_iou')}; set that too"
            )
        if self.quality not in get_args(Quality):
            raise ValueError(
                f"{argument('quality')} must be 'original' or 'compressed', not {self.quality!r}"
            )
        for name in ("batch_size", "downloads", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{argument(name)} must be 1 or more, not {value}")
        for name in ("review_frames", "open_issues"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"{argument(name)} must be 0 or more, not {value}")

    @property
    def leaves_out_annotated(self) -> bool:
        """Whether frames, or objects, are passed over that are annotated already."""
        return self.selection.unannotated or self.skip_existing_iou is not None

    @property
    def frames_to_rank(self) -> int:
        """How many of the frames that should be looked at first are needed."""
        return max(self.review_frames, self.open_issues)
