"""A long video with SAM 3: the book-keeping of transformers, with stubs in place of its networks."""

import gc
from types import SimpleNamespace

import pytest
import torch

from prefect_cvat.auto_annotation.functions._sam3_session import Sam3Session
from sam3_models import SIDE, SIZE, build_model, build_processor

pytest.importorskip("transformers", minversion="5")

FRAMES = 1000
LIFE, NEW_EVERY, ROWS = 60, 25, 4
"""Frames that an object is there, frames from one to the next, and places where they are."""

MASK = 4 * SIDE


def visible(frame):
    """The numbers of the objects on a frame; each has a row of its own."""
    return range(max(0, (frame - LIFE) // NEW_EVERY + 1), frame // NEW_EVERY + 1)


def mask_of(number, frame):
    """An object moves to the right."""
    logits = torch.full((MASK, MASK), -5.0)
    top, left = (number % ROWS) * (MASK // ROWS), (frame - NEW_EVERY * number) * (MASK - 6) // LIFE
    logits[top + 1 : top + 7, left : left + 6] = 5.0
    return logits


class Tracker(torch.nn.Module):
    """Sees the objects where they are, and stores for each what the real tracker stores."""

    def __init__(self, real):
        super().__init__()
        self.mask_decoder, self.prompt_encoder = real.mask_decoder, real.prompt_encoder
        self.rows = {}

    def forward(self, inference_session, frame_idx, reverse, run_mem_encoder):
        by_row = {number % ROWS: number for number in visible(frame_idx)}
        masks, scores = [], []
        for index in range(inference_session.get_obj_num()):
            given = inference_session.mask_inputs_per_obj[index].get(frame_idx)
            if given is not None:
                row = int(given[0, 0].any(dim=1).nonzero()[0]) // (MASK // ROWS)
                self.rows[inference_session.obj_idx_to_id(index)] = row, by_row[row]
            row, number = self.rows[inference_session.obj_idx_to_id(index)]
            is_there = by_row.get(row) == number
            mask = mask_of(number, frame_idx) if is_there else torch.full((MASK, MASK), -5.0)
            output = {
                "pred_masks": mask[None, None],
                "object_pointer": torch.zeros(1, 128),
                "high_res_masks": torch.zeros(1, 1, SIZE, SIZE),
                "object_score_logits": torch.full((1, 1), 5.0 if is_there else -5.0),
                "maskmem_features": torch.zeros(SIDE * SIDE, 1, 64),
                "maskmem_pos_enc": torch.zeros(SIDE * SIDE, 1, 64),
            }
            inference_session.store_output(
                index, frame_idx, output_value=output, is_conditioning_frame=given is not None
            )
            if given is None:
                inference_session.frames_tracked_per_obj[index][frame_idx] = {"reverse": reverse}
            masks.append(mask[None, None])
            scores.append(output["object_score_logits"])
        inference_session.obj_with_new_inputs = []
        return SimpleNamespace(pred_masks=torch.cat(masks), object_score_logits=torch.cat(scores))


@pytest.fixture
def session(monkeypatch):
    model = build_model().eval()
    frame = {"number": -1}

    def detect(inference_session, vision_embeds):
        frame["number"] += 1
        masks = [mask_of(number, frame["number"]) for number in visible(frame["number"])]
        count = len(masks)
        boxes, scores = torch.zeros(count, 4), torch.full((count,), 0.9)
        return {0: {"bbox": boxes, "mask": torch.stack(masks), "scores": scores}}

    feature = [torch.zeros(SIDE * SIDE, 1, 128)]
    monkeypatch.setattr(model.detector_model, "get_vision_features", lambda pixel_values: None)
    monkeypatch.setattr(model, "get_vision_features_for_tracker", lambda vision_embeds: (feature, feature))
    monkeypatch.setattr(model, "run_detection", detect)
    memory = torch.zeros(SIDE * SIDE, 1, 64)
    monkeypatch.setattr(
        model,
        "run_memory_encoder",
        lambda session, number, masks, scores: (memory.repeat(1, len(masks), 1),) * 2,
    )
    model.tracker_model = Tracker(model.tracker_model)
    return Sam3Session(model, build_processor(), ["a thing"], torch.device("cpu"), lost_after=10)


def bytes_in_tensors():
    gc.collect()
    return sum(each.nbytes for each in gc.get_objects() if type(each) is torch.Tensor)


def test_memory_is_flat_over_a_long_video(session):
    pixels = torch.zeros(3, SIZE, SIZE)
    sizes, entries, numbers = [], [], {}
    for frame in range(FRAMES):
        found = session.advance(pixels)
        assert len(found) == len(visible(frame)), frame
        for each in found:
            numbers.setdefault(each.number, []).append(frame)
        if frame % 100 == 99:
            tables = [v for v in vars(session._session).values() if isinstance(v, dict | set | list)]
            sizes.append(bytes_in_tensors())
            entries.append(sum(len(list(table)) for table in tables))
    assert len(numbers) == FRAMES // NEW_EVERY, "each object has its own number"
    assert all(frames == list(range(frames[0], frames[-1] + 1)) for frames in numbers.values())
    assert not session.dropped
    assert max(sizes[1:]) <= 1.15 * sizes[0]
    assert max(entries[1:]) <= 1.15 * entries[0]
