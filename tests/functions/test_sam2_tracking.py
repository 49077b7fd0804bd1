"""SAM 2 for video with random weights: its memory and its output."""

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.auto_annotation import TrackableShape
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_tracker import ShapeContext, ShapeToTrack, ShapeTracker, TrackingContext
from prefect_cvat.masks import decode_mask, encode_mask
from sam2_models import write_tiny_sam2

transformers = pytest.importorskip("transformers", minversion="5")
pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, HEIGHT = 200, 150
BOX = [50, 20, 120, 110]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam2-video")
    write_tiny_sam2(folder, video=True)
    return folder


@pytest.fixture(scope="module")
def function(folder):
    return load_function("sam2_tracking", {"model_id": str(folder), "device": "cpu"})


@pytest.fixture(scope="module")
def images():
    photo = PIL.Image.fromarray(skimage.data.astronaut()).resize((WIDTH, HEIGHT))
    return [photo.rotate(3 * number) for number in range(9)]


def a_mask():
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=bool)
    bitmap[20:110, 50:120] = True
    return encode_mask(bitmap)


SEEDS = [
    ShapeToTrack("box", "rectangle", BOX),
    ShapeToTrack("mask", "mask", a_mask()),
    ShapeToTrack("polygon", "polygon", [50, 20, 120, 20, 120, 110, 50, 110]),
]


def track(function, images, seeds):
    tracker = ShapeTracker(function)
    for number, image in enumerate(images):
        yield dict(tracker.advance(Frame(number, "", WIDTH, HEIGHT), image, seeds if number == 0 else []))


def test_shapes_are_returned_in_their_own_type(function, images):
    _, *later = track(function, images[:4], SEEDS)
    assert all(found.keys() == {"box", "mask", "polygon"} for found in later)
    for found in later:
        assert [found[seed.key].type for seed in SEEDS] == ["rectangle", "mask", "polygon"]
        decode_mask(found["mask"].points, image_width=WIDTH, image_height=HEIGHT)
    # the same pixels were shown as mask and as polygon
    columns = np.flatnonzero(
        decode_mask(later[-1]["mask"].points, image_width=WIDTH, image_height=HEIGHT).any(axis=0)
    )
    assert min(later[-1]["polygon"].points[0::2]) >= columns[0]
    assert max(later[-1]["polygon"].points[0::2]) <= columns[-1] + 1


def test_the_masks_are_those_of_a_session_of_transformers(function, folder, images):
    """Its own streaming, which keeps everything, over more images than the model looks back."""
    model = transformers.Sam2VideoModel.from_pretrained(folder)
    processor = transformers.Sam2VideoProcessor.from_pretrained(folder)
    session = processor.init_video_session(inference_device="cpu")
    state = None
    context = ShapeContext("mask")
    for number, image in enumerate(images):
        inputs = processor(images=image, return_tensors="pt")
        if number == 0:
            mask = decode_mask(a_mask(), image_width=WIDTH, image_height=HEIGHT)
            processor.add_inputs_to_inference_session(
                session, frame_idx=0, obj_ids=1, input_masks=mask, original_size=inputs["original_sizes"][0]
            )
        with torch.inference_mode():
            outputs = model(session, frame=inputs["pixel_values"][0])
        pp_image = function.preprocess_image(TrackingContext(), image)
        if state is None:
            shape = TrackableShape(type="mask", points=a_mask())
            state = function.init_tracking_state(context, pp_image, shape)
            continue
        found = function.track(context, pp_image, state)
        [expected] = processor.post_process_masks([outputs.pred_masks], [[HEIGHT, WIDTH]], binarize=True)
        mask = decode_mask(found.points, image_width=WIDTH, image_height=HEIGHT)
        assert (mask == expected[0, 0].numpy()).mean() > 0.995, number


def test_box_prompt_is_encoded_as_in_transformers(function, folder, images):
    model = transformers.Sam2VideoModel.from_pretrained(folder)
    processor = transformers.Sam2VideoProcessor.from_pretrained(folder)
    session = processor.init_video_session(inference_device="cpu")
    expected = None
    for number, image in enumerate(images[:3]):
        inputs = processor(images=image, return_tensors="pt")
        if number == 0:
            processor.add_inputs_to_inference_session(
                session,
                frame_idx=0,
                obj_ids=1,
                input_boxes=[[BOX]],
                original_size=inputs["original_sizes"][0],
            )
        with torch.inference_mode():
            outputs = model(session, frame=inputs["pixel_values"][0])
        [expected] = processor.post_process_masks([outputs.pred_masks], [[HEIGHT, WIDTH]])
    rows, columns = np.nonzero(expected[0, 0].numpy())
    *_, found = track(function, images[:3], SEEDS[:1])
    assert found["box"].points == pytest.approx(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], abs=1
    )


def test_object_not_seen_by_the_model_is_lost(folder, images):
    function = load_function("sam2_tracking", {"model_id": str(folder), "device": "cpu"})
    found = track(function, images[:4], SEEDS)
    next(found)
    assert next(found)
    torch.nn.init.constant_(function._model.mask_decoder.pred_obj_score_head.proj_out.bias, -5)
    assert next(found) == {}


def test_memory_does_not_grow(function, images):
    context = ShapeContext("rectangle")
    images = [function.preprocess_image(TrackingContext(), image) for image in images[:3]]
    state = function.init_tracking_state(context, images[0], TrackableShape(type="rectangle", points=BOX))

    def numbers():
        kept = state.session.output_dict_per_obj[0]
        tensors = [
            tensor
            for outputs in kept.values()
            for output in outputs.values()
            for tensor in output.values()
            if isinstance(tensor, torch.Tensor)
        ]
        return sum(tensor.numel() for tensor in tensors)

    sizes = []
    for number in range(16):
        function.track(context, images[number % 3], state)
        sizes.append(numbers())
    assert sizes[7] == sizes[-1]
    assert not state.session.processed_frames
    assert not state.session.frames_tracked_per_obj[0]


def test_encoder_runs_once_per_image(function, images, monkeypatch):
    runs = []
    encode = function._model.get_image_features
    monkeypatch.setattr(
        function._model,
        "get_image_features",
        lambda *args, **kwargs: (runs.append(1), encode(*args, **kwargs))[1],
    )
    list(track(function, images[:3], SEEDS))
    assert len(runs) == 3


def test_missing_transformers_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[transformers\]"'):
        load_function("sam2_tracking")
    with pytest.raises(FunctionLoadError, match="tolerance must be 0 or more"):
        load_function("sam2_tracking", {"tolerance": -1})
