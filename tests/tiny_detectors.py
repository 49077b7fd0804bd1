"""Models of transformers that find boxes: real classes, small, with random weights that are always the same."""

from __future__ import annotations

import torch
import transformers

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
SQUARE = {"height": 64, "width": 64}


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


def detr_of_timm():
    """With a backbone of timm, as the published models have."""
    config = transformers.DetrConfig(
        use_timm_backbone=True,
        backbone="resnet18",
        use_pretrained_backbone=False,
        num_queries=10,
        **LAYERS,
        **LABELS,
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


RT_DETR_LAYERS = {
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [12, 16, 24],
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "num_queries": 20,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 0,
}


def rt_detr():
    config = transformers.RTDetrConfig(
        backbone_config=backbone(transformers.RTDetrResNetConfig), **RT_DETR_LAYERS, **LABELS
    )
    return transformers.RTDetrForObjectDetection, config, transformers.RTDetrImageProcessor(size=SQUARE)


def rt_detr_v2():
    config = transformers.RTDetrV2Config(
        backbone_config=backbone(transformers.RTDetrResNetConfig), **RT_DETR_LAYERS, **LABELS
    )
    return transformers.RTDetrV2ForObjectDetection, config, transformers.RTDetrImageProcessor(size=SQUARE)


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


def d_fine():
    stages = {
        "depths": [1, 1, 1, 1],
        "embedding_size": 8,
        "hidden_sizes": [8, 12, 16, 24],
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 8, 12, 16],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 12, 16, 24],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "out_features": ["stage2", "stage3", "stage4"],
    }
    config = transformers.DFineConfig(
        backbone_config=transformers.HGNetV2Config(**stages),
        decoder_n_points=[2, 2, 2],
        **RT_DETR_LAYERS,
        **LABELS,
    )
    return transformers.DFineForObjectDetection, config, transformers.RTDetrImageProcessor(size=SQUARE)


def rf_detr_config():
    vision = transformers.RfDetrDinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_windows=2,
        out_features=["stage1", "stage2"],
    )
    return transformers.RfDetrConfig(
        backbone_config=vision,
        d_model=32,
        num_queries=10,
        group_detr=2,
        c2f_num_blocks=1,
        decoder_layers=2,
        decoder_ffn_dim=16,
        intermediate_size=16,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        **LABELS,
    )


def rf_detr():
    processor = transformers.RfDetrImageProcessor(size=SQUARE)
    return transformers.RfDetrForObjectDetection, rf_detr_config(), processor


DETECTORS = [detr, conditional_detr, deformable_detr, rt_detr, rt_detr_v2, d_fine, rf_detr, yolos]
made = {}


def model_and_processor(family):
    """The model of a family, which is made once, and its processor."""
    if family not in made:
        model_class, config, processor = family()
        torch.manual_seed(0)
        model = model_class(config)
        for parameter in model.parameters():  # as they are made, all queries find the same
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.25)
        made[family] = model.eval(), processor
    return made[family]
