"""Torchvision's models, small and with random weights: always the same, and nothing is downloaded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection import (
    fasterrcnn_resnet50_fpn,
    keypointrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn,
)


def random_rcnn(build: Callable[..., nn.Module], *, seed: int = 0, **options: Any) -> nn.Module:
    """One of torchvision's R-CNNs, small and always the same, that finds 20 objects of several classes."""
    torch.manual_seed(seed)
    settings = {
        "box_score_thresh": 0.0,
        "box_detections_per_img": 20,
        "rpn_post_nms_top_n_test": 100,
        "min_size": 160,
        "max_size": 160,
    }
    model = build(weights=None, weights_backbone=None, **(settings | options))
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(0.05)
    return model


def build_detector(**options: Any) -> nn.Module:
    return random_rcnn(fasterrcnn_resnet50_fpn, seed=6, num_classes=5, **options)


def build_mask_rcnn(**options: Any) -> nn.Module:
    return random_rcnn(maskrcnn_resnet50_fpn, num_classes=5, **options)


def build_keypoint_rcnn(**options: Any) -> nn.Module:
    return random_rcnn(keypointrcnn_resnet50_fpn, num_classes=2, num_keypoints=17, **options)


def build_classifier(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return resnet18(weights=None, num_classes=6, **options)
