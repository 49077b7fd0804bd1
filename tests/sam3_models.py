"""A small untrained SAM 3: random weights, always the same, in a folder as that of `facebook/sam3`.

The detector, the tracker and the model for video read their weights from the same folder.
"""

from pathlib import Path
from typing import Any

import torch

PATCH = 14
SIDE = 8
SIZE = PATCH * SIDE
HIDDEN = 128
CONTEXT = 16
"""Tokens that the model reads of a prompt."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_tiny_sam3(folder: Path) -> None:
    """Write model and processors as `from_pretrained` reads them."""
    build_model().save_pretrained(folder)
    build_processor().save_pretrained(folder)


def build_processor() -> Any:
    """Make a `Sam3VideoProcessor`."""
    import transformers

    size = {"height": SIZE, "width": SIZE}
    return transformers.Sam3VideoProcessor(
        image_processor=transformers.Sam3ImageProcessor(
            size=size, mask_size={"height": 4 * SIDE, "width": 4 * SIDE}
        ),
        video_processor=transformers.Sam2VideoVideoProcessor(size=size),
        tokenizer=_tokenizer(),
    )


def build_model(*, seed: int = 1) -> Any:
    """Make a `Sam3VideoModel`."""
    import transformers

    layers = {"hidden_size": HIDDEN, "intermediate_size": 32, "num_attention_heads": 2}
    prompt = {"hidden_size": HIDDEN, "num_attention_heads": 2, "dropout": 0.0}
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model",
            **layers,
            "num_hidden_layers": 2,
            "image_size": SIZE,
            "pretrain_image_size": SIZE // 2,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        "fpn_hidden_size": HIDDEN,
        "backbone_feature_sizes": [[4 * SIDE] * 2, [2 * SIDE] * 2, [SIDE] * 2],
    }
    torch.manual_seed(seed)
    config = transformers.Sam3VideoConfig(
        detector_config={
            "model_type": "sam3",
            "vision_config": {"model_type": "sam3_vision_model", **vision},
            "text_config": {
                "model_type": "clip_text_model",
                **layers,
                "vocab_size": 2 * len(LETTERS) + 2,
                "num_hidden_layers": 1,
                "projection_dim": 16,
                "max_position_embeddings": 32,
                "bos_token_id": 2 * len(LETTERS),
                "eos_token_id": 2 * len(LETTERS) + 1,
                "pad_token_id": 2 * len(LETTERS) + 1,
            },
            "geometry_encoder_config": {**prompt, "num_layers": 1, "intermediate_size": 32},
            "detr_encoder_config": {**prompt, "num_layers": 1, "intermediate_size": 32},
            "detr_decoder_config": {**prompt, "num_layers": 2, "intermediate_size": 32, "num_queries": 12},
            "mask_decoder_config": prompt,
        },
        tracker_config={
            "model_type": "sam3_tracker_video",
            "image_size": SIZE,
            "vision_config": {"model_type": "sam3_vision_model", **vision},
            "prompt_encoder_config": {"hidden_size": HIDDEN, "image_size": SIZE, "mask_input_channels": 4},
            "mask_decoder_config": {
                "hidden_size": HIDDEN,
                "mlp_dim": 32,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 16,
                "iou_head_depth": 2,
            },
            "num_maskmem": 3,
            "max_object_pointers_in_encoder": 5,
            "memory_attention_hidden_size": HIDDEN,
            "memory_attention_num_layers": 1,
            "memory_attention_feed_forward_hidden_size": 32,
            "memory_encoder_hidden_size": HIDDEN,
            "memory_encoder_output_channels": 64,
            "mask_downsampler_embed_dim": HIDDEN,
            "memory_fuser_num_layers": 1,
            "memory_fuser_embed_dim": HIDDEN,
            "memory_fuser_intermediate_dim": 32,
        },
        low_res_mask_size=4 * SIDE,
    )
    model = transformers.Sam3VideoModel(config)
    with torch.no_grad():  # as they are made, all queries find the same
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.normal_(0, 1.0 if "query_embed" in name else 0.1)
            if "pred_obj_score_head.proj_out" in name:  # the tracker always sees its object
                weight.fill_(5.0 if name.endswith("bias") else 0.0)
    return model


def _tokenizer() -> Any:
    import transformers

    pieces = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
