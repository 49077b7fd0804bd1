"""A small untrained SAM 2: random weights, always the same, written to a folder."""

from pathlib import Path
from typing import Any

import torch

SIZE = 128


def write_tiny_sam2(folder: Path, *, video: bool) -> None:
    """Write model and processor as `from_pretrained` reads them."""
    import transformers

    vision = transformers.Sam2VisionConfig(
        backbone_config=transformers.Sam2HieraDetConfig(
            hidden_size=8,
            image_size=[SIZE, SIZE],
            blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[8, 16, 32, 64],
            num_attention_heads_per_stage=[1, 1, 2, 2],
            window_size_per_stage=[8, 4, 8, 4],
            global_attention_blocks=[3],
        ),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[SIZE // 4] * 2, [SIZE // 8] * 2, [SIZE // 16] * 2],
        fpn_hidden_size=128,
    )
    prompts = {"hidden_size": 128, "image_size": SIZE, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 128,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
        "iou_head_depth": 2,
    }
    parts: dict[str, Any] = {
        "vision_config": vision,
        "prompt_encoder_config": prompts,
        "mask_decoder_config": decoder,
    }
    torch.manual_seed(1)
    size = {"height": SIZE, "width": SIZE}
    images = transformers.Sam2ImageProcessor(size=size, mask_size={"height": SIZE // 4, "width": SIZE // 4})
    if video:
        config = transformers.Sam2VideoConfig(
            **parts,
            image_size=SIZE,
            num_maskmem=3,
            max_object_pointers_in_encoder=5,
            memory_attention_hidden_size=128,
            memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=32,
            memory_attention_rope_feat_sizes=[SIZE // 16, SIZE // 16],
            memory_encoder_hidden_size=128,
            memory_encoder_output_channels=64,
            mask_downsampler_embed_dim=128,
            memory_fuser_num_layers=1,
            memory_fuser_embed_dim=128,
            memory_fuser_intermediate_dim=32,
        )
        model = transformers.Sam2VideoModel(config)
        processor = transformers.Sam2VideoProcessor(
            image_processor=images, video_processor=transformers.Sam2VideoVideoProcessor(size=size)
        )
    else:
        model = transformers.Sam2Model(transformers.Sam2Config(**parts))
        processor = transformers.Sam2Processor(image_processor=images)
    with torch.no_grad():  # or else all its masks are alike
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "layer_norm" not in name:
                weight.normal_(0, 0.2)
            if "pred_obj_score_head.proj_out" in name:  # it always sees its object
                weight.fill_(5.0 if name.endswith("bias") else 0.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
