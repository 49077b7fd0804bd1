"""Models of transformers that find masks: real classes, small, with random weights."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

import transformers

from tiny_detectors import LABELS, LAYERS, NAMES, SQUARE, WIDE, backbone, rf_detr_config, swin
from tiny_word_models import clip_tokenizer

DECODER = {
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "dim_feedforward": 16,
    "num_queries": 10,
}


def detr_segmentation():
    settings = LAYERS | {"d_model": 64, "encoder_attention_heads": 8, "decoder_attention_heads": 8}
    config = transformers.DetrConfig(
        backbone=None, backbone_config=backbone(stages=[1, 2, 3, 4]), num_queries=10, **settings, **LABELS
    )
    return transformers.DetrForSegmentation, config, transformers.DetrImageProcessor(size=WIDE)


def mask2former():
    config = transformers.Mask2FormerConfig(
        backbone=None, backbone_config=swin([1, 2, 3, 4]), **DECODER, **LABELS
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


@cache
def class_info_file():
    """The classes as OneFormer's processor reads them: cats and dogs are things."""
    file = Path(tempfile.mkdtemp()) / "classes.json"
    classes = {
        str(number): {"name": name, "isthing": name in ("cat", "dog")} for number, name in NAMES.items()
    }
    file.write_text(json.dumps(classes))
    return file


def oneformer():
    config = transformers.OneFormerConfig(
        backbone_config=swin([1, 2, 3, 4]),
        num_queries=10,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=3,
        query_dec_layers=1,
        num_attention_heads=2,
        dim_feedforward=16,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_n_ctx=4,
        **LABELS,
    )
    images = transformers.OneFormerImageProcessor(
        size=WIDE, repo_path=str(class_info_file().parent), class_info_file=class_info_file().name
    )
    processor = transformers.OneFormerProcessor(images, clip_tokenizer(77))
    return transformers.OneFormerForUniversalSegmentation, config, processor


def eomt():
    config = transformers.EomtConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=8,
        num_upscale_blocks=1,
        num_blocks=1,
        num_queries=2,
        **LABELS,
    )
    processor = transformers.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)
    return transformers.EomtForUniversalSegmentation, config, processor


def rf_detr_segmentation():
    processor = transformers.RfDetrImageProcessor(size=SQUARE)
    return transformers.RfDetrForInstanceSegmentation, rf_detr_config(), processor


SEGMENTERS = [detr_segmentation, mask2former, maskformer, oneformer, eomt, rf_detr_segmentation]
