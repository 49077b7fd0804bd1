"""Runs SAM 3 for video frame after frame, and keeps what it needs of the last frames only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["FollowedObject", "Sam3Session"]


@dataclass(frozen=True)
class FollowedObject:
    """An object on a frame.

    Attributes:
        number: Its number in the video, from 1.
        prompt: The place of the prompt that describes it.
        score: The score with which it was found first.
        tracking_score: How sure the tracker is on this frame; where two objects of a prompt overlap, the one
            with the greater has the pixel.
        logits: `[h, w]`, a small mask of the whole image: above 0 where the object is.
    """

    number: int
    prompt: int
    score: float
    tracking_score: float
    logits: NDArray[np.float32]


class _Frames(dict[int, Tensor]):
    """The frames of a session: the last one, and how many there were."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __len__(self) -> int:
        return self._count


class Sam3Session:
    """The objects of a video.

    The model would keep all frames, the masks of all objects on them, and all objects that it has ever seen.
    Here it keeps of each object the masks and memories that it looks back to; an object that was not seen for
    `lost_after` frames is forgotten, and would be a new one. So memory depends on the number of objects that
    are seen at a time, and not on the length of the video.

    As in the original SAM 3, objects that turn out in their first frames not to be found again by the words,
    or to be a second time the same object, are dropped; `dropped` has them. (transformers 5.24 does so for
    videos that are loaded as a whole, and not while frames come one by one.)

    Args:
        model: A `Sam3VideoModel`.
        processor: Its processor.
        words: The prompts.
        device: The device of the model.
        lost_after: Number of frames.

    Attributes:
        dropped: Numbers of the objects that were dropped.
    """

    def __init__(
        self, model: Any, processor: Any, words: Sequence[str], device: torch.device, *, lost_after: int
    ) -> None:
        self.dropped: frozenset[int] = frozenset()
        self._model = model
        self._lost_after = lost_after
        self._next = 0
        self._last_seen: dict[int, int] = {}
        self._session = processor.init_video_session(inference_device=device, dtype=model.dtype)
        processor.add_text_prompt(self._session, list(words))

    @torch.inference_mode()
    def advance(self, pixels: Tensor) -> list[FollowedObject]:
        """Find and follow the objects on the next frame.

        Args:
            pixels: `[3, H, W]`, of the size that the model takes.
        """
        session, number = self._session, self._next
        session.processed_frames = _Frames(number + 1)
        outputs = self._model(session, frame=pixels, frame_idx=number)
        self._next += 1
        found = self._visible(outputs)
        for each in found:
            self._last_seen[each.number - 1] = number
        self._drop(number)
        self._forget(number)
        return found

    def _visible(self, outputs: Any) -> list[FollowedObject]:
        prompts = self._session.obj_id_to_prompt_id
        ids = [each for each in outputs.obj_id_to_mask if each not in outputs.suppressed_obj_ids]
        if not ids:
            return []
        logits = torch.cat([outputs.obj_id_to_mask[each] for each in ids]).float()
        visible = (logits > 0).any(dim=(1, 2)).tolist()
        masks = logits.cpu().numpy()
        return [
            FollowedObject(
                number=object_id + 1,
                prompt=prompts[object_id],
                score=float(outputs.obj_id_to_score[object_id]),
                tracking_score=float(outputs.obj_id_to_tracker_score.get(object_id, 0.0)),
                logits=mask,
            )
            for object_id, mask, is_visible in zip(ids, masks, visible, strict=True)
            if is_visible
        ]

    def _drop(self, number: int) -> None:
        """Remove the objects that are lost, and those that are none."""
        session, config = self._session, self._model.config
        first = session.obj_first_frame_idx

        def is_new(object_id: int) -> bool:
            return bool(first[object_id] > number - config.hotstart_delay)

        unmatched = {
            object_id
            for object_id, frames in session.unmatched_frame_inds.items()
            if len(frames) >= config.hotstart_unmatch_thresh and is_new(object_id)
        }
        doubled = {
            object_id
            for (_, object_id), frames in session.overlap_pair_to_frame_inds.items()
            if len(frames) >= config.hotstart_dup_thresh and is_new(object_id)
        }
        self.dropped = self.dropped | {object_id + 1 for object_id in unmatched | doubled}
        lost = {
            object_id
            for object_id in session.obj_ids
            if number - self._last_seen.setdefault(object_id, number) >= self._lost_after
        }
        for object_id in unmatched | doubled | lost:
            session.remove_object(object_id)

    def _forget(self, number: int) -> None:
        """Let go of what the model would keep, and not use again."""
        session, config = self._session, self._model.config.tracker_config
        session.processed_frames.clear()
        alive = set(session.obj_ids)
        for by_object in (
            *(session.obj_id_to_score, session.obj_id_to_prompt_id, session.obj_id_to_last_occluded),
            *(session.obj_first_frame_idx, session.unmatched_frame_inds, session.trk_keep_alive),
            self._last_seen,
        ):
            for object_id in by_object.keys() - alive:
                del by_object[object_id]
        for pair in [pair for pair in session.overlap_pair_to_frame_inds if not alive.issuperset(pair)]:
            del session.overlap_pair_to_frame_inds[pair]
        for frames in (*session.unmatched_frame_inds.values(), *session.overlap_pair_to_frame_inds.values()):
            del frames[: max(len(frames) - self._model.config.hotstart_delay, 0)]
        session.obj_id_to_tracker_score_frame_wise.clear()
        session.suppressed_obj_ids.clear()
        looks_back = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for index in range(session.get_obj_num()):
            session.mask_inputs_per_obj[index].clear()
            session.frames_tracked_per_obj[index].clear()
            outputs = session.output_dict_per_obj[index]
            outputs["non_cond_frame_outputs"].pop(number - looks_back, None)
            shown = outputs["cond_frame_outputs"]
            for frame in sorted(shown)[: -config.max_cond_frame_num]:
                del shown[frame]
            for kept in outputs.values():
                for output in kept.values():
                    output.pop("high_res_masks", None)
