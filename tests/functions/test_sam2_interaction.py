"""SAM 2 with random weights: its input and its output."""

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.frames import Frame
from prefect_cvat.inference.shape_refiner import InteractionContext, Prompts, ShapeRefiner
from prefect_cvat.masks import decode_mask
from sam2_models import write_tiny_sam2

transformers = pytest.importorskip("transformers", minversion="5")
pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, HEIGHT = 200, 150
CONTEXT = InteractionContext()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam2")
    write_tiny_sam2(folder, video=False)
    return folder


@pytest.fixture(scope="module")
def function(folder):
    return load_function("sam2_interaction", {"model_id": str(folder), "device": "cpu"})


@pytest.fixture(scope="module")
def image():
    return PIL.Image.fromarray(skimage.data.astronaut()).resize((WIDTH, HEIGHT))


def shape(type="rectangle", points=(50, 20, 120, 110)):
    return {"type": type, "frame": 0, "label_id": 1, "points": list(points), "source": "manual"}


@pytest.mark.parametrize("each", [shape(), shape("points", [60, 60]), shape("points", [60, 60, 80, 80])])
def test_shapes_become_masks_with_confidence(function, image, each):
    [(_, [body])] = ShapeRefiner(function).refine(Frame(0, "a", WIDTH, HEIGHT), image, [each])
    assert body["type"] == "mask"
    assert 0 <= body["score"] <= 1
    assert decode_mask(body["points"], image_width=WIDTH, image_height=HEIGHT).any()


def test_the_mask_is_that_of_the_model(function, folder, image):
    """As transformers' own documentation has it: model and processor in one go."""
    model = transformers.Sam2Model.from_pretrained(folder)
    processor = transformers.Sam2Processor.from_pretrained(folder)
    inputs = processor(images=image, input_boxes=[[[50, 20, 120, 110]]], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs, multimask_output=False)
    [expected] = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    pp_image = function.preprocess_image(CONTEXT, image)
    [found] = function.detect(CONTEXT, pp_image, Prompts((), ((50, 20), (120, 110))))
    mask = decode_mask(found.points, image_width=WIDTH, image_height=HEIGHT)
    assert (mask == expected[0, 0].numpy()).mean() > 0.999
    assert float(found.attributes[0].value) == pytest.approx(float(outputs.iou_scores.max()), abs=1e-3)


def test_encoder_runs_once_per_image(function, image, monkeypatch):
    runs = []
    encode = function._model.get_image_embeddings
    monkeypatch.setattr(
        function._model, "get_image_embeddings", lambda *args: (runs.append(1), encode(*args))[1]
    )
    ShapeRefiner(function).refine(Frame(0, "a", WIDTH, HEIGHT), image, [shape()] * 3)
    assert len(runs) == 1


def test_an_image_can_be_used_again(function, image):
    pp_image = function.preprocess_image(CONTEXT, image)
    prompts = Prompts([(60.0, 60.0)])
    first, second = (function.detect(CONTEXT, pp_image, prompts) for _ in range(2))
    assert first == second


def test_without_prompts_nothing_is_found(function, image):
    assert function.detect(CONTEXT, function.preprocess_image(CONTEXT, image), Prompts()) == []


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_images_of_any_mode_are_accepted(function, image, mode):
    refined = ShapeRefiner(function, "polygon").refine(
        Frame(0, "a", WIDTH, HEIGHT), image.convert(mode), [shape()]
    )
    assert all(body["type"] == "polygon" for _, bodies in refined for body in bodies)


def test_weights_of_the_video_model_work(tmp_path, image):
    write_tiny_sam2(tmp_path, video=True)
    function = load_function("sam2_interaction", {"model_id": str(tmp_path), "device": "cpu"})
    refined = ShapeRefiner(function).refine(Frame(0, "a", WIDTH, HEIGHT), image, [shape()])
    assert len(refined) == 1


def test_missing_transformers_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[transformers\]"'):
        load_function("sam2_interaction")


def test_negative_points_reach_the_model(function, image):
    class WithNegative(Prompts):
        @property
        def neg_points(self):
            return [(10.0, 10.0)]

    pp_image = function.preprocess_image(CONTEXT, image)
    [one] = function.detect(CONTEXT, pp_image, Prompts([(60.0, 60.0), (70.0, 70.0)]))
    [other] = function.detect(CONTEXT, pp_image, WithNegative([(60.0, 60.0), (70.0, 70.0)]))
    assert not np.array_equal(one.points, other.points)
