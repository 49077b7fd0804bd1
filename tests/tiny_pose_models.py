"""ViTPose: its real class, small, with random weights."""

from __future__ import annotations

import transformers

KEYPOINTS = ("Nose", "L_Eye", "R_Eye", "L_Hip", "R_Hip")


def vitpose(experts=1):
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        num_experts=experts,
        part_features=8 if experts > 1 else 0,
        out_indices=[2],
    )
    config = transformers.VitPoseConfig(
        backbone_config=backbone,
        id2label=dict(enumerate(KEYPOINTS)),
        label2id={name: number for number, name in enumerate(KEYPOINTS)},
    )
    processor = transformers.VitPoseImageProcessor(size={"height": 64, "width": 48})
    return transformers.VitPoseForPoseEstimation, config, processor


def vitpose_plus():
    """It knows the keypoints of several data sets."""
    return vitpose(experts=3)
