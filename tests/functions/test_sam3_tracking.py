"""SAM 3 with random weights follows shapes that somebody has drawn."""

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_tracker import ShapeToTrack, ShapeTracker
from prefect_cvat.masks import decode_mask, encode_mask

transformers = pytest.importorskip("transformers", minversion="5")
pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, HEIGHT = 200, 150


@pytest.fixture(scope="module")
def function(sam3_folder):
    return load_function("sam3_tracking", {"model": str(sam3_folder), "device": "cpu"})


@pytest.fixture(scope="module")
def images():
    photo = PIL.Image.fromarray(skimage.data.astronaut()).resize((WIDTH, HEIGHT))
    return [photo.rotate(3 * number) for number in range(9)]


def track(function, images, seeds):
    tracker = ShapeTracker(function)
    for number, image in enumerate(images):
        yield dict(tracker.advance(Frame(number, "", WIDTH, HEIGHT), image, seeds if number == 0 else []))


def drawn_mask():
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=bool)
    bitmap[20:110, 50:120] = True
    return bitmap


def test_shapes_are_returned_in_their_own_type(function, images):
    seeds = [
        ShapeToTrack("box", "rectangle", [50, 20, 120, 110]),
        ShapeToTrack("mask", "mask", encode_mask(drawn_mask())),
        ShapeToTrack("polygon", "polygon", [50, 20, 120, 20, 120, 110, 50, 110]),
    ]
    _, *later = track(function, images[:4], seeds)
    for found in later:
        assert [found[seed.key].type for seed in seeds] == ["rectangle", "mask", "polygon"]


def test_the_masks_are_those_of_a_session_of_transformers(function, sam3_folder, images):
    """Its own streaming, which keeps everything, over more images than the model looks back."""
    model = transformers.Sam3TrackerVideoModel.from_pretrained(sam3_folder)
    processor = transformers.Sam3TrackerVideoProcessor.from_pretrained(sam3_folder)
    session = processor.init_video_session(inference_device="cpu")
    found = track(function, images, [ShapeToTrack("mask", "mask", encode_mask(drawn_mask()))])
    for number, image in enumerate(images):
        inputs = processor(images=image, return_tensors="pt")
        if number == 0:
            size = inputs["original_sizes"][0]
            processor.add_inputs_to_inference_session(
                session, frame_idx=0, obj_ids=1, input_masks=drawn_mask(), original_size=size
            )
        with torch.inference_mode():
            outputs = model(session, frame=inputs["pixel_values"][0])
        [expected] = processor.post_process_masks([outputs.pred_masks], [[HEIGHT, WIDTH]], binarize=True)
        of_frame = next(found)
        if number:
            mask = decode_mask(of_frame["mask"].points, image_width=WIDTH, image_height=HEIGHT)
            assert (mask == expected[0, 0].numpy()).mean() > 0.995, number


def test_missing_weights_error_says_how_to_download_them(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FunctionLoadError, match="hf download facebook/sam3"):
        load_function("sam3_tracking")
    with pytest.raises(FunctionLoadError, match="tolerance must be 0 or more"):
        load_function("sam3_tracking", {"tolerance": -1})
