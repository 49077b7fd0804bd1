"""Models of transformers of all supported families: small, with random weights that are always the same."""

import math

import numpy as np
import pytest
import torch

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.functions import transformers_detection
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask

transformers = pytest.importorskip("transformers")

NAMES = {0: "cat", 1: "person", 2: "car", 3: "dog"}
LABELS = {"id2label": NAMES, "label2id": {name: number for number, name in NAMES.items()}}
LAYERS = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}
WIDE = {"height": 64, "width": 96}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["traffic cone", "cat"]


def backbone(config=None, stages=(2, 3, 4)):
    return (config or transformers.ResNetConfig)(
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 24],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=[f"stage{stage}" for stage in stages],
    )


def swin(stages):
    return transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=[f"stage{stage}" for stage in stages],
    )


def detr(names=LABELS):
    config = transformers.DetrConfig(
        backbone=None, backbone_config=backbone(stages=[4]), num_queries=10, **LAYERS, **names
    )
    return transformers.DetrForObjectDetection, config, transformers.DetrImageProcessor(size=WIDE)


def conditional_detr():
    config = transformers.ConditionalDetrConfig(
        backbone=None, backbone_config=backbone(stages=[4]), num_queries=10, **LAYERS, **LABELS
    )
    processor = transformers.ConditionalDetrImageProcessor(size=WIDE)
    return transformers.ConditionalDetrForObjectDetection, config, processor


def deformable_detr():
    config = transformers.DeformableDetrConfig(
        backbone=None,
        backbone_config=backbone(),
        num_queries=10,
        num_feature_levels=3,
        **LAYERS,
        **LABELS,
    )
    processor = transformers.DeformableDetrImageProcessor(size=WIDE)
    return transformers.DeformableDetrForObjectDetection, config, processor


def rt_detr():
    config = transformers.RTDetrConfig(
        backbone_config=backbone(transformers.RTDetrResNetConfig),
        encoder_hidden_dim=32,
        encoder_in_channels=[12, 16, 24],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=32,
        num_queries=20,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        decoder_in_channels=[32, 32, 32],
        num_denoising=0,
        **LABELS,
    )
    processor = transformers.RTDetrImageProcessor(size={"height": 64, "width": 64})
    return transformers.RTDetrForObjectDetection, config, processor


def yolos():
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        num_detection_tokens=10,
        use_mid_position_embeddings=False,
        **LABELS,
    )
    return transformers.YolosForObjectDetection, config, transformers.YolosImageProcessor(size=WIDE)


def detr_segmentation():
    settings = LAYERS | {"d_model": 64, "encoder_attention_heads": 8, "decoder_attention_heads": 8}
    config = transformers.DetrConfig(
        backbone=None, backbone_config=backbone(stages=[1, 2, 3, 4]), num_queries=10, **settings, **LABELS
    )
    return transformers.DetrForSegmentation, config, transformers.DetrImageProcessor(size=WIDE)


def mask2former():
    config = transformers.Mask2FormerConfig(
        backbone=None,
        backbone_config=swin([1, 2, 3, 4]),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=10,
        **LABELS,
    )
    processor = transformers.Mask2FormerImageProcessor(size=WIDE)
    return transformers.Mask2FormerForUniversalSegmentation, config, processor


def maskformer():
    decoder = transformers.DetrConfig(
        backbone=None, backbone_config=backbone(stages=[4]), num_queries=10, **LAYERS
    )
    config = transformers.MaskFormerConfig(
        backbone=None,
        backbone_config=swin([1, 2, 3, 4]),
        fpn_feature_size=32,
        mask_feature_size=32,
        decoder_config=decoder,
        **LABELS,
    )
    processor = transformers.MaskFormerImageProcessor(size=WIDE)
    return transformers.MaskFormerForInstanceSegmentation, config, processor


def owl(family):
    pieces = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    layers = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    end = len(pieces) - 1
    text = {
        "vocab_size": len(pieces),
        "max_position_embeddings": 16,
        "bos_token_id": end - 1,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    config = getattr(transformers, f"{family}Config")(
        text_config=layers | text,
        vision_config=layers | {"image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    tokenizer = transformers.CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[]
    )
    images = getattr(transformers, f"{family}ImageProcessor")(size={"height": 64, "width": 64})
    processor = getattr(transformers, f"{family}Processor")(images, tokenizer)
    return getattr(transformers, f"{family}ForObjectDetection"), config, processor


def owlvit():
    return owl("OwlViT")


def owlv2():
    return owl("Owlv2")


def grounding_dino():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."]
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    config = transformers.GroundingDinoConfig(
        backbone=None,
        backbone_config=swin([2, 3, 4]),
        text_config=transformers.BertConfig(
            vocab_size=len(pieces),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        num_queries=10,
        max_text_len=32,
        **LAYERS,
    )
    tokenizer = transformers.BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size=WIDE), tokenizer
    )
    return transformers.GroundingDinoForObjectDetection, config, processor


DETECTORS = [detr, conditional_detr, deformable_detr, rt_detr, yolos]
SEGMENTERS = [detr_segmentation, mask2former, maskformer]
ZERO_SHOT = [owlvit, owlv2, grounding_dino]
made = {}


def model_and_processor(family):
    if family not in made:
        model_class, config, processor = family()
        torch.manual_seed(0)
        model = model_class(config)
        for parameter in model.parameters():  # as they are made, all queries find the same
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.25)
        made[family] = model.eval(), processor
    return made[family]


def make(family, **options):
    model, processor = model_and_processor(family)
    labels = {"labels": WORDS} if family in ZERO_SHOT else {}
    settings = {"score_threshold": 0.0, "device": "cpu"}
    return transformers_detection.create(model, processor=processor, **(settings | labels | options))


def values(found):
    return [(shape.label_id, shape.score, shape.points) for shape in found]


def everything(found):
    return [value for shape in found for value in (shape.label_id, shape.score, *shape.points)]


@pytest.fixture(scope="module")
def small_photos(photos):
    """Two of one size and one of another."""
    return [photos[1].resize((120, 80)), photos[2].resize((120, 80)), photos[0].resize((70, 90))]


@pytest.mark.parametrize("family", DETECTORS + [owlvit, owlv2], ids=lambda family: family.__name__)
def test_rectangles_equal_those_of_the_processor(family, context, small_photos):
    function = make(family)
    found = function.detect(context(), small_photos[0])
    model, processor = model_and_processor(family)
    text = {"text": [WORDS], "padding": True} if family in ZERO_SHOT else {}
    inputs = processor(images=[small_photos[0]], return_tensors="pt", **text)
    with torch.inference_mode():
        outputs = model(**inputs)
    if family in ZERO_SHOT:
        (expected,) = processor.post_process_grounded_object_detection(
            outputs, threshold=0.0, target_sizes=[(80, 120)]
        )
    else:
        (expected,) = processor.post_process_object_detection(
            outputs, threshold=0.0, target_sizes=[(80, 120)]
        )
    best_first = expected["scores"].argsort(descending=True, stable=True)
    assert len(found) == len(best_first) >= 10
    np.testing.assert_allclose([shape.score for shape in found], expected["scores"][best_first], atol=1e-5)
    np.testing.assert_allclose([shape.points for shape in found], expected["boxes"][best_first], atol=1e-2)
    assert len({tuple(shape.points) for shape in found}) >= 10
    assert [shape.label_id for shape in found] == expected["labels"][best_first].tolist()
    OutputChecker(function.spec.labels).check(0, found)


@pytest.mark.parametrize("family", SEGMENTERS, ids=lambda family: family.__name__)
def test_masks_equal_those_of_the_processor(family, context, small_photos):
    function = make(family)
    found = function.detect(context(), small_photos[0])
    model, processor = model_and_processor(family)
    with torch.inference_mode():
        outputs = model(**processor(images=[small_photos[0]], return_tensors="pt"))
    (expected,) = processor.post_process_instance_segmentation(
        outputs, threshold=0.0, target_sizes=[(80, 120)]
    )
    segments = [
        segment
        for segment in expected["segments_info"]
        if (expected["segmentation"] == segment["id"]).any()  # others may cover all of it
    ]
    assert found
    assert [(shape.label_id, shape.score) for shape in found] == [
        (segment["label_id"], pytest.approx(segment["score"], abs=1e-5)) for segment in segments
    ]
    for shape, segment in zip(found, segments, strict=True):
        mask = decode_mask(shape.points, image_width=120, image_height=80)
        assert (mask == (expected["segmentation"] == segment["id"]).numpy()).all()
    assert [label.type for label in function.spec.labels] == ["mask"] * 4


@pytest.mark.parametrize("family", SEGMENTERS, ids=lambda family: family.__name__)
def test_polygons_are_returned_if_the_run_requests_them(family, context, small_photos):
    function = make(family)
    found = function.detect(context(conv_mask_to_poly=True), small_photos[0])
    detections = OutputChecker(function.spec.labels, conv_mask_to_poly=True).check(0, found)
    assert {shape.type for shape in detections.shapes} == {"polygon"}
    with_masks = function.detect(context(), small_photos[0])
    assert {shape.label_id for shape in found} == {shape.label_id for shape in with_masks}


@pytest.mark.parametrize("family", DETECTORS + [mask2former] + ZERO_SHOT, ids=lambda family: family.__name__)
def test_batch_detections_equal_single_image_detections(family, context, small_photos):
    function = make(family, batch_size=3)
    order = [small_photos[index] for index in (0, 2, 1)]
    together = function.detect_batch([context()] * 3, order)
    alone = [function.detect(context(), photo) for photo in order]
    assert everything(alone[0]) != everything(alone[2])
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(everything(found), everything(expected), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("family", [rt_detr, mask2former, grounding_dino], ids=lambda family: family.__name__)
def test_threshold_of_the_run_overrides_that_of_the_function(family, context, small_photos):
    found = make(family).detect(context(), small_photos[0])
    middle = sorted(shape.score for shape in found)[len(found) // 2]
    strict = make(family, score_threshold=middle - 1e-6, batch_size=3)
    kept, none, all_of_it = strict.detect_batch(
        [context(), context(1.0), context(0.0)], [small_photos[0]] * 3
    )
    assert 0 < len(kept) < len(found)
    assert min(shape.score for shape in kept) == pytest.approx(middle, abs=1e-5)
    assert none == []
    assert len(all_of_it) == len(found)


def test_labels_are_those_of_the_model_without_background_labels(context, small_photos):
    names = {0: "N/A", 1: "person", 2: "car", 3: "N/A"}
    numbers = {"person": 1, "car": 2}
    model_class, config, processor = detr({"id2label": names, "label2id": numbers})
    torch.manual_seed(0)
    function = transformers_detection.create(
        model_class(config), processor=processor, score_threshold=0.0, device="cpu"
    )
    assert [(label.id, label.name, label.type) for label in function.spec.labels] == [
        (1, "person", "rectangle"),
        (2, "car", "rectangle"),
    ]
    for bias in range(4):  # make each class in turn the best one
        with torch.no_grad():
            function._model.class_labels_classifier.bias[:] = (
                torch.nn.functional.one_hot(torch.tensor(bias), 5) * 9
            )
        expected = {bias} & {1, 2}
        assert {shape.label_id for shape in function.detect(context(), small_photos[0])} == expected


def test_words_are_labels_and_score_as_their_best_token(context, small_photos):
    function = make(grounding_dino, labels=["hen", "red cat"])
    assert [(label.id, label.name) for label in function.spec.labels] == [(0, "hen"), (1, "red cat")]
    found = function.detect(context(), small_photos[0])
    model, processor = model_and_processor(grounding_dino)
    inputs = processor(images=[small_photos[0]], text="hen. red cat.", return_tensors="pt")
    with torch.inference_mode():
        scores = model(**inputs).logits[0].sigmoid()
    hen, red_cat = slice(1, 4), slice(5, 11)  # [CLS] h e n . r e d c a t . [SEP]
    by_word = torch.stack([scores[:, hen].amax(1), scores[:, red_cat].amax(1)], dim=1)
    best, words = by_word.max(1)
    order = best.argsort(descending=True)
    assert [shape.label_id for shape in found] == words[order].tolist()
    assert [shape.score for shape in found] == pytest.approx(best[order].tolist(), abs=1e-5)


@pytest.mark.parametrize("family", [rt_detr, mask2former, owlv2], ids=lambda family: family.__name__)
def test_model_by_name_equals_model_object(family, context, small_photos, tmp_path):
    model, processor = model_and_processor(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    labels = {"labels": WORDS} if family in ZERO_SHOT else {}
    by_name = transformers_detection.create(str(tmp_path), score_threshold=0.0, device="cpu", **labels)
    expected = make(family).detect(context(), small_photos[0])
    np.testing.assert_allclose(
        everything(by_name.detect(context(), small_photos[0])), everything(expected), rtol=1e-3, atol=1e-2
    )
    assert (
        by_name.version
        == transformers_detection.create(str(tmp_path), score_threshold=0.0, device="cpu", **labels).version
    )


def test_half_precision_finds_nearly_the_same(context, small_photos):
    whole, half = (
        make(yolos, half_precision=half_precision).detect(context(), small_photos[0])
        for half_precision in (False, True)
    )
    assert everything(whole) != everything(half)
    assert whole[0].points == pytest.approx(half[0].points, abs=8)


def test_version_depends_on_weights_and_settings_and_not_on_use(context, small_photos):
    function = make(detr)
    versions = {function.version}
    function.detect(context(), small_photos[0])
    vars(function).pop("version")
    versions |= {function.version, make(detr).version}
    assert len(versions) == 1
    with torch.no_grad():
        function._model.class_labels_classifier.bias[0] += 0.001
    vars(function).pop("version")
    versions |= {function.version, make(detr, score_threshold=0.1).version, make(yolos).version}
    with torch.no_grad():
        function._model.class_labels_classifier.bias[0] -= 0.001
    model, _ = model_and_processor(detr)
    larger = transformers.DetrImageProcessor(size={"height": 96, "width": 96})
    versions.add(
        transformers_detection.create(model, processor=larger, score_threshold=0.0, device="cpu").version
    )
    words = [make(owlv2, labels=labels).version for labels in (["a"], ["b"])]
    assert len(versions | set(words)) == 7


def test_closed_function_raises_an_error(context, small_photos):
    function = make(detr)
    function.close()
    with pytest.raises(RuntimeError, match="the function is closed"):
        function.detect(context(), small_photos[0])


@pytest.mark.parametrize(
    ("arrange", "error", "message"),
    [
        (lambda: make(owlv2, labels=None), ValueError, "Owlv2ForObjectDetection needs labels"),
        (lambda: make(owlv2, labels=["a", "a"]), ValueError, "labels has a name twice: a, a"),
        (
            lambda: make(grounding_dino, labels=["st. bernard", "cat"]),
            ValueError,
            "labels must not hold full stops, nor be empty: st. bernard, cat",
        ),
        (lambda: make(owlv2, labels="cat"), TypeError, "labels must be a list of strings, not 'cat'"),
        (lambda: make(detr, labels=["cat"]), ValueError, "DetrForObjectDetection has labels of its own"),
        (lambda: make(detr, revision="main"), TypeError, "only a model by name takes the options revision"),
        (lambda: make(detr, tolerance=-1), ValueError, "tolerance must be 0 or more, not -1"),
        (lambda: make(detr, score_threshold=math.inf), ValueError, "score_threshold must be between 0 and 1"),
        (lambda: transformers_detection.create(3), TypeError, "model must be a name or a model .* not int"),
        (
            lambda: transformers_detection.create(model_and_processor(detr)[0]),
            TypeError,
            "a model object needs its processor",
        ),
        (
            lambda: transformers_detection.create(model_and_processor(detr)[0].model, processor=object()),
            TypeError,
            "DetrModel is no model for detection or segmentation",
        ),
    ],
)
def test_unusable_models_are_refused(arrange, error, message):
    with pytest.raises(error, match=message):
        arrange()


def test_a_task_is_annotated_with_it(client, make_task):
    task_id = make_task(4, labels=[label_spec(name, None) for name in NAMES.values()])
    function = make(rt_detr)
    annotate_task(client, task_id, function)
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    assert len(shapes) > 20
    assert {shape["frame"] for shape in shapes} == {0, 1, 2, 3}
    assert all(shape["type"] == "rectangle" and 0 < shape["score"] <= 1 for shape in shapes)
