"""Models of transformers that find masks find what transformers itself makes of their outputs."""

import functools

import numpy as np
import pytest
import torch

from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask

pytest.importorskip("transformers")

import transformers

from prefect_cvat.auto_annotation.functions import transformers_detection
from tiny_detectors import model_and_processor
from tiny_segmenters import (
    SEGMENTERS,
    detr_segmentation,
    eomt,
    mask2former,
    maskformer,
    oneformer,
    rf_detr_segmentation,
)

PANOPTIC = [detr_segmentation, mask2former, maskformer, oneformer, eomt]


def name(family):
    return family.__name__


def outputs_of(family, photo, task):
    model, processor = model_and_processor(family)
    told = {"task_inputs": [task]} if family is oneformer else {}
    with torch.inference_mode():
        return model(**processor(images=[photo], return_tensors="pt", **told)), processor


def assert_segments(shapes, expected):
    """Compare masks with segments; others may cover all of one."""
    segments = [
        segment for segment in expected["segments_info"] if (expected["segmentation"] == segment["id"]).any()
    ]
    segments.sort(key=lambda segment: -segment["score"])
    assert segments
    assert [(shape.label_id, shape.score) for shape in shapes] == [
        (segment["label_id"], pytest.approx(segment["score"], abs=1e-5)) for segment in segments
    ]
    for shape, segment in zip(shapes, segments, strict=True):
        mask = decode_mask(shape.points, image_width=120, image_height=80)
        assert (mask == (expected["segmentation"] == segment["id"]).numpy()).all()


@pytest.mark.parametrize("family", SEGMENTERS, ids=name)
def test_masks_equal_those_of_the_processor(make, family, context, small_photos):
    function = make(family)
    found = function.detect(context(), small_photos[0])
    outputs, processor = outputs_of(family, small_photos[0], "instance")
    (expected,) = processor.post_process_instance_segmentation(
        outputs, threshold=0.0, target_sizes=[(80, 120)]
    )
    assert_segments(found, expected)
    assert [label.type for label in function.spec.labels] == ["mask"] * 4


@pytest.mark.parametrize("family", PANOPTIC, ids=name)
def test_panoptic_masks_equal_those_of_the_processor(make, family, context, small_photos):
    found = make(family, segmentation="panoptic").detect(context(), small_photos[0])
    outputs, processor = outputs_of(family, small_photos[0], "panoptic")
    (expected,) = processor.post_process_panoptic_segmentation(
        outputs, threshold=0.0, target_sizes=[(80, 120)]
    )
    assert_segments(found, expected)


@pytest.mark.parametrize("family", [mask2former, maskformer, eomt, detr_segmentation], ids=name)
def test_panoptic_masks_equal_those_of_the_pipeline(make, family, context, small_photos):
    model, processor = model_and_processor(family)
    pipeline = transformers.pipeline(
        "image-segmentation", model=model, image_processor=processor, device="cpu"
    )
    expected = pipeline(small_photos[0], subtask="panoptic", threshold=0.0, overlap_mask_area_threshold=0.8)
    found = make(family, segmentation="panoptic").detect(context(), small_photos[0])
    assert len(found) == len(expected) > 0
    for shape, each in zip(found, sorted(expected, key=lambda each: -each["score"]), strict=True):
        assert model.config.id2label[shape.label_id] == each["label"]
        assert shape.score == pytest.approx(each["score"], abs=1e-5)
        mask = decode_mask(shape.points, image_width=120, image_height=80)
        assert (mask == (np.array(each["mask"]) > 0)).all()


@pytest.mark.parametrize("family", PANOPTIC, ids=name)
def test_stuff_has_one_mask(make, family, context, small_photos, monkeypatch):
    """All segments of a class that is stuff are one; those of other classes stay apart."""
    _, processor = model_and_processor(family)
    reader = getattr(processor, "image_processor", processor)
    asked = []
    original = type(reader).post_process_panoptic_segmentation

    @functools.wraps(original)
    def noting(self, outputs, *args, **settings):
        asked.append(settings)
        return original(self, outputs, *args, **settings)

    monkeypatch.setattr(type(reader), "post_process_panoptic_segmentation", noting)
    function = make(family, segmentation="panoptic", stuff=["car", "dog"])
    function.detect(context(), small_photos[0])
    (settings,) = asked
    assert (settings.get("label_ids_to_fuse") or settings.get("stuff_classes")) == {2, 3}
    assert function.version != make(family, segmentation="panoptic").version


def test_segments_of_stuff_are_one(make, context, small_photos):
    photo = small_photos[0]
    apart = make(oneformer, segmentation="panoptic").detect(context(), photo)
    label_ids = [shape.label_id for shape in apart]
    assert len(label_ids) > len(set(label_ids))
    names = model_and_processor(oneformer)[0].config.id2label
    fused = make(oneformer, segmentation="panoptic", stuff=[names[each] for each in set(label_ids)])
    assert len(fused.detect(context(), photo)) == len(set(label_ids))


@pytest.mark.parametrize("family", SEGMENTERS, ids=name)
def test_polygons_are_returned_if_the_run_requests_them(make, family, context, small_photos):
    function = make(family)
    found = function.detect(context(conv_mask_to_poly=True), small_photos[0])
    detections = OutputChecker(function.spec.labels, conv_mask_to_poly=True).check(0, found)
    assert {shape.type for shape in detections.shapes} == {"polygon"}
    with_masks = function.detect(context(), small_photos[0])
    assert {shape.label_id for shape in found} == {shape.label_id for shape in with_masks}


@pytest.mark.parametrize("family", [oneformer, eomt, rf_detr_segmentation], ids=name)
def test_model_in_a_folder_is_the_model_object(make, family, context, small_photos, tmp_path):
    model, processor = model_and_processor(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    by_name = transformers_detection.create(str(tmp_path), score_threshold=0.0, device="cpu")
    found, expected = (each.detect(context(), small_photos[0]) for each in (by_name, make(family)))
    assert [(shape.label_id, shape.points) for shape in found] == [
        (shape.label_id, shape.points) for shape in expected
    ]


@pytest.mark.parametrize("family", [oneformer, eomt], ids=name)
def test_batch_detections_equal_single_image_detections(make, family, context, small_photos):
    function = make(family, batch_size=3)
    together = function.detect_batch([context()] * 3, small_photos)
    alone = [function.detect(context(), photo) for photo in small_photos]
    for found, expected in zip(together, alone, strict=True):
        assert [(shape.label_id, shape.points) for shape in found] == [
            (shape.label_id, shape.points) for shape in expected
        ]


def test_wrong_options_are_refused(make):
    with pytest.raises(ValueError, match="RfDetrForInstanceSegmentation has no panoptic segmentation"):
        make(rf_detr_segmentation, segmentation="panoptic")
    with pytest.raises(ValueError, match="stuff has 'catt', not classes of the model; did you mean 'cat'?"):
        make(mask2former, segmentation="panoptic", stuff=["catt"])


def test_versions_of_instance_and_panoptic_segmentation_differ(make):
    assert make(eomt).version != make(eomt, segmentation="panoptic").version
