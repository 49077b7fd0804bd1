"""Which shapes of a task are followed, and which of them are the same object.

A shape that is followed is a *seed*. Where jobs overlap, CVAT keeps it once in each of them, with different
ids; what says the same is one seed. Seeds of one nonzero group, label and type on different frames of a job
are keyframes of one object. Where a frame has several of these, the group says that they belong together
and not that they are the same, and each is an object of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from prefect_cvat.annotations.duplicates import attribute_defaults, identity
from prefect_cvat.geometry.clipping import is_empty
from prefect_cvat.messages.plurals import quoted_list
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import Label
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.planning.plan import Plan
from prefect_cvat.records.annotation_index import Stored
from prefect_cvat.tracking.track import Attributes

__all__ = ["FollowedObject", "SeedReader", "SeedShape"]


@dataclass(slots=True)
class SeedShape:
    """A shape that is followed.

    Attributes:
        shape: The shape as the server told it; its `id` is that of the first of the originals.
        originals: The ids of the jobs that have it, each with the id that it has there.
        carried_in: The jobs in which it is a keyframe of a track that an earlier run has written.
    """

    shape: dict[str, Any]
    originals: list[tuple[int, int]] = field(default_factory=list)
    carried_in: set[int] = field(default_factory=set)

    @property
    def frame(self) -> int:
        """The frame that it is on."""
        number: int = self.shape["frame"]
        return number

    @property
    def is_carried(self) -> bool:
        """Whether each of the originals is in a track of its job."""
        return self.carried_in.issuperset(job_id for job_id, _ in self.originals)


@dataclass(frozen=True, slots=True)
class FollowedObject:
    """What is followed: one seed, or several that are keyframes of the same object.

    Attributes:
        number: Tells it from all others: the id of its first seed.
        label: Its label.
        seeds: Its seeds, in ascending order of their frames.
    """

    number: int
    label: Label
    seeds: tuple[SeedShape, ...]

    @property
    def source(self) -> str:
        """The source of its track: what a human has had a hand in is never `auto`."""
        return "auto" if all(_is_auto(seed.shape) for seed in self.seeds) else "semi-auto"

    @property
    def group(self) -> int:
        """The group of all of its seeds; 0 for none."""
        group: int = self.seeds[0].shape.get("group") or 0
        return group

    @property
    def job_ids(self) -> set[int]:
        """The jobs that have a seed of it."""
        return {job_id for seed in self.seeds for job_id, _ in seed.originals}

    @property
    def is_carried(self) -> bool:
        """Whether an earlier run has written its tracks, and may have removed other seeds of it already."""
        return all(seed.is_carried for seed in self.seeds)


class SeedReader:
    """Picks out of what jobs hold what is to be followed.

    Args:
        plan: What lies on other frames than the plan's is not looked at.
        options: What is followed.
        types: The types of shapes that the function can follow.

    Attributes:
        left_out: How many shapes that were asked for are not followed, by reason.
        doubled: Tracks that runs like this one have made and their jobs hold more than once, with the ids of
            the jobs: all but one.

    Raises:
        ValueError: The options name a label or a frame that the task does not have.
    """

    def __init__(self, plan: Plan, options: ShapeTrackingOptions, types: Collection[str]) -> None:
        info = plan.info
        size = info.meta.size
        end = math.inf if info.through_jobs else size
        if options.until is not None and not 0 <= options.until < end:
            raise ValueError(
                f"task {info.task.id} has the frames 0-{size - 1}; it has no frame {options.until}"
            )
        self.left_out: Counter[str] = Counter()
        self.doubled: list[tuple[int, Stored]] = []
        self._task_id = info.task.id
        self._options = options
        self._types = frozenset(types) - {"skeleton"}  # the interface has no place for its elements
        self._frames = plan.frames
        self._labels = self._wanted(info.labels)
        self._defaults = attribute_defaults(info.labels)
        self._mutable = Attributes(info.labels).defaults
        self._seeds: dict[bytes, SeedShape] = {}
        self._passed_over: set[bytes] = set()

    def read(self, job_id: int, annotations: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Take what a job holds: kinds and annotations, shapes before tracks.

        Args:
            job_id: The job.
            annotations: As `Client.iter_job_annotations` yields them.
        """
        here: dict[bytes, list[SeedShape]] = {}
        tracks: set[bytes] = set()
        for kind, annotation in annotations:
            if kind == "shapes" and (seed := self._seed(annotation)) is not None:
                seed.originals.append((job_id, annotation["id"]))
                here.setdefault(self._place(annotation), []).append(seed)
            elif kind == "tracks" and (source := annotation.get("source")) in ("auto", "semi-auto"):
                if (digest := identity(annotation, self._defaults)) in tracks and self._may_be_result(
                    annotation
                ):
                    self.doubled.append((job_id, (kind, annotation["id"], digest)))
                tracks.add(digest)
                for shape in _keyframes(annotation):
                    for carried in here.get(self._place(shape), ()):
                        # a machine's own track says nothing about what a human drew in the same place
                        if source == "semi-auto" or _is_auto(carried.shape):
                            carried.carried_in.add(job_id)

    def objects(self) -> list[FollowedObject]:
        """What is to be followed, in the order of the first frames."""
        alone = [[seed] for seed in self._seeds.values() if not seed.shape.get("group")]
        for seeds in self._groups():
            is_one = len({seed.frame for seed in seeds}) == len(seeds)
            alone += [seeds] if is_one else [[seed] for seed in seeds]
        objects = []
        for seeds in alone:
            seeds.sort(key=lambda seed: seed.frame)
            first = seeds[0].shape
            objects.append(FollowedObject(first["id"], self._labels[first["label_id"]], tuple(seeds)))
        return sorted(objects, key=lambda each: (each.seeds[0].frame, each.number))

    def why_nothing(self) -> str:
        """Why there is nothing to follow, nor anything to put in order; empty if there is."""
        if self._seeds or self.doubled:
            return ""
        sources = self._options.sources
        which = "of a source other than 'auto'" if sources is None else f"of source {' or '.join(sources)}"
        if self._options.labels is not None:
            which += f" and label {' or '.join(map(repr, self._options.labels))}"
        text = f"task {self._task_id} has no shapes to follow {which}, on the frames and in the jobs selected"
        if self.left_out:
            left_out = ", ".join(f"{count} {why}" for why, count in self.left_out.items())
            text += f"; left out: {left_out}"
        return text

    def _groups(self) -> Iterable[list[SeedShape]]:
        """The seeds of each group, label and type.

        Groups are numbered anew in each job: jobs have one in common only if they share a seed of it.
        """
        of_job: dict[tuple[int, int, int, str], list[SeedShape]] = {}
        for seed in self._seeds.values():
            if group := seed.shape.get("group"):
                kind = group, seed.shape["label_id"], seed.shape["type"]
                parts = [of_job.setdefault((job_id, *kind), []) for job_id, _ in seed.originals]
                parts[0].append(seed)
                for part in parts[1:]:
                    if part is not parts[0]:
                        parts[0] += part
                        of_job |= {key: parts[0] for key, other in of_job.items() if other is part}
        return {id(seeds): seeds for seeds in of_job.values()}.values()

    def _wanted(self, labels: Sequence[Label]) -> dict[int, Label]:
        names = self._options.labels
        known = {label.name for label in labels}
        if strangers := sorted(set(names or ()) - known):
            raise ValueError(
                f"task {self._task_id} has no label {quoted_list(strangers)};"
                f" it has {quoted_list(sorted(known))}"
                f"{did_you_mean(strangers[0], known)}"
            )
        return {label.id: label for label in labels if names is None or label.name in names}

    def _seed(self, shape: Mapping[str, Any]) -> SeedShape | None:
        """The seed that a shape is, or is another copy of; None if it is not to be followed."""
        sources = self._options.sources
        source = shape.get("source") or "manual"
        if source not in sources if sources is not None else source == "auto":
            return None
        frame = shape["frame"]
        if shape["label_id"] not in self._labels or not self._frames.has(frame):
            return None
        digest = identity(shape, self._defaults)
        if (why := self._why_not(shape)) is not None:
            if digest not in self._passed_over:
                self._passed_over.add(digest)
                self.left_out[why] += 1
            return None
        seed = self._seeds.get(digest)
        if seed is None:
            seed = self._seeds[digest] = SeedShape(dict(shape))
        return seed

    def _may_be_result(self, track: Mapping[str, Any]) -> bool:
        """Whether a track may have been made by a run like this one: of what was drawn it is `semi-auto`."""
        sources = self._options.sources
        is_of_source = track["source"] == "semi-auto" or (sources is not None and "auto" in sources)
        return is_of_source and track["label_id"] in self._labels

    def _why_not(self, shape: Mapping[str, Any]) -> str | None:
        if shape["type"] not in self._types:
            return f"{shape['type']}, which the function cannot follow"
        if is_empty(shape["type"], shape["points"]):
            return "empty"
        until, frame = self._options.until, shape["frame"]
        if until is not None and (frame < until if self._options.direction == "backward" else frame > until):
            return f"behind frame {until}"
        return None

    def _place(self, shape: Mapping[str, Any]) -> bytes:
        """A digest of what a seed and the keyframe that it has become have in common."""
        defaults = self._mutable.get(shape["label_id"], {})
        values = {key: value for key, value in _values(shape).items() if key in defaults}
        content = [
            *(shape["frame"], shape["label_id"], shape["type"], shape.get("group") or 0),
            [round(float(number), 3) for number in shape.get("points") or ()],
            round(float(shape.get("rotation") or 0.0), 3),
            *(bool(shape.get("occluded")), shape.get("z_order") or 0),
            sorted({**defaults, **values}.items()),
        ]
        return blake2b(to_json(content), digest_size=12).digest()


def _keyframes(track: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The keyframes of a track that can be seen, as shapes."""
    attributes: dict[int, str] = {}
    for shape in sorted(track["shapes"], key=lambda shape: int(shape["frame"])):
        attributes |= _values(shape)  # CVAT 2.73: what a keyframe leaves out is as on the one before
        if not shape.get("outside"):
            yield {
                **shape,
                "label_id": track["label_id"],
                "group": track.get("group"),
                "attributes": [{"spec_id": key, "value": value} for key, value in attributes.items()],
            }


def _values(owner: Mapping[str, Any]) -> dict[int, str]:
    return {item["spec_id"]: item["value"] for item in owner.get("attributes") or ()}


def _is_auto(shape: Mapping[str, Any]) -> bool:
    return shape.get("source") == "auto"
