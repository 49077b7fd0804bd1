"""Models of transformers that take words: real classes and tokenizers, small, with random weights."""

from __future__ import annotations

import transformers

from tiny_detectors import LAYERS, WIDE, swin

LETTERS = "abcdefghijklmnopqrstuvwxyzß0123456789,.'"


def clip_tokenizer(context):
    """Spells words; it knows the letters of any language as bytes."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    pieces = list(bytes_to_unicode().values())
    vocabulary = [*pieces, *(f"{piece}</w>" for piece in pieces), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)},
        merges=[],
        model_max_length=context,
    )


def bert_tokenizer():
    """Spells words; the special tokens have the numbers that Grounding DINO expects."""
    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    free = (number for number in range(1, 1100) if number not in set(vocabulary.values()))
    for letter in LETTERS.replace(".", ""):
        vocabulary |= {letter: next(free), f"##{letter}": next(free)}
    vocabulary |= {f"[unused{number}]": number for number in free}
    return transformers.BertTokenizer(vocab=vocabulary)


def clip_text(tokenizer, **settings):
    end = tokenizer.eos_token_id
    numbers = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end, "vocab_size": end + 1}
    layers = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return layers | numbers | {"max_position_embeddings": tokenizer.model_max_length} | settings


def owl(family, context=16):
    tokenizer = clip_tokenizer(context)
    text = clip_text(tokenizer)
    vision = {name: text[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads")}
    config = getattr(transformers, f"{family}Config")(
        text_config=text,
        vision_config=vision | {"num_hidden_layers": 1, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    images = getattr(transformers, f"{family}ImageProcessor")(size={"height": 64, "width": 64})
    processor = getattr(transformers, f"{family}Processor")(images, tokenizer)
    return getattr(transformers, f"{family}ForObjectDetection"), config, processor


def owlvit():
    return owl("OwlViT")


def owlv2():
    return owl("Owlv2")


def grounding(family, context=32):
    tokenizer = bert_tokenizer()
    config = getattr(transformers, f"{family}Config")(
        backbone_config=swin([2, 3, 4]),
        text_config=transformers.BertConfig(
            vocab_size=1100,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        num_queries=10,
        max_text_len=context,
        **LAYERS,
    )
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size=WIDE), tokenizer
    )
    return getattr(transformers, f"{family}ForObjectDetection"), config, processor


def grounding_dino():
    return grounding("GroundingDino")


def mm_grounding_dino():
    return grounding("MMGroundingDino")


def mm_grounding_dino_of_full_context():
    """Reads texts as long as the published models do."""
    return grounding("MMGroundingDino", context=256)


def omdet(backbone, channels, **settings):
    tokenizer = clip_tokenizer(77)
    config = transformers.OmDetTurboConfig(
        **backbone,
        text_config=transformers.CLIPTextConfig(**clip_text(tokenizer)),
        image_size=64,
        text_projection_in_dim=16,
        text_projection_out_dim=16,
        task_encoder_hidden_dim=16,
        class_embed_dim=16,
        num_queries=10,
        encoder_hidden_dim=32,
        decoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=channels,
        encoder_attention_heads=2,
        encoder_dim_feedforward=16,
        decoder_num_heads=2,
        decoder_num_layers=1,
        decoder_dim_feedforward=16,
        **settings,
    )
    images = transformers.DetrImageProcessor(
        size={"height": 64, "width": 64}, do_pad=False, format="coco_detection"
    )
    return (
        transformers.OmDetTurboForObjectDetection,
        config,
        transformers.OmDetTurboProcessor(images, tokenizer),
    )


def omdet_turbo():
    backbone = {"backbone_config": swin([2, 3, 4])}
    return omdet(backbone, [16, 32, 64], apply_layernorm_after_vision_backbone=False)


def omdet_turbo_of_timm():
    """With the backbone of the published model."""
    return omdet({"backbone": "swin_tiny_patch4_window7_224"}, [192, 384, 768])


WORD_MODELS = [owlvit, owlv2, grounding_dino, mm_grounding_dino, omdet_turbo]
