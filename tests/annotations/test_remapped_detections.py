"""What waits to be written, packed as JSON; label mapping itself is tested in test_mapping.py."""

import json

import pytest

from prefect_cvat.annotations.remapped_detections import Annotations, LabelRemapper
from prefect_cvat.auto_annotation import label_spec, rectangle, tag
from prefect_cvat.frames import Frame, FrameDetections
from prefect_cvat.models import Label
from prefect_cvat.planning.label_mapping import build_mapping

FRAMES = {number: Frame(number, f"{number}.png", 64, 48) for number in range(4)}


def detections():
    """Three boxes and a tag on each of four frames, numbers that JSON could round among them."""
    return [
        FrameDetections(
            number, [tag(1)], [rectangle(1, [1 / 3, 0.1 + x, 20, 40], score=0.7) for x in range(3)]
        )
        for number in FRAMES
    ]


def remapped(pack_at):
    mapping = build_mapping([label_spec("car", 1)], [Label(id=10, name="car")])
    return LabelRemapper(mapping).remap(detections(), FRAMES, pack_at)


def test_packs_return_their_annotations():
    as_they_were = remapped(None)
    packed = remapped(1)
    [*packs] = packed.packs()
    assert sorted((item for pack in packs for item in pack), key=json.dumps) == sorted(
        [*as_they_were.tags, *as_they_were.shapes], key=json.dumps
    )
    assert packed.tags == packed.shapes == []


@pytest.mark.parametrize(("pack_at", "sizes", "left"), [(1, [4, 4, 4, 4], 0), (5, [8, 8], 0), (9, [12], 4)])
def test_packs_have_whole_frames_and_a_minimum_size(pack_at, sizes, left):
    annotations = remapped(pack_at)
    packs = list(annotations.packs())
    assert [len(pack) for pack in packs] == sizes
    frames = [sorted({item["frame"] for item in pack}) for pack in packs]
    assert [number for numbers in frames for number in numbers] == list(range(sum(sizes) // 4))
    assert len(annotations.tags) + len(annotations.shapes) == left
    annotations.pack()
    assert sum(len(pack) for pack in annotations.packs()) == 16


def test_no_annotations_make_no_pack():
    annotations = Annotations()
    annotations.pack()
    assert list(annotations.packs()) == []


def test_packs_can_be_read_again_on_retry():
    annotations = remapped(5)
    assert list(annotations.packs()) == list(annotations.packs()) != []


def test_empty_keeps_the_counts():
    annotations = remapped(9)
    annotations.empty()
    assert (list(annotations.packs()), annotations.tags, annotations.shapes) == ([], [], [])
    assert (annotations.frames, annotations.labels) == (4, {"car": 16})
