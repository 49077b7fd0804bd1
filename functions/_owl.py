"""OWL-ViT and OWLv2: words and images are encoded apart, and then compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from prefect_cvat.auto_annotation.functions._word_models import (
    Found,
    WordModel,
    check_lengths,
    found_of_words,
)

__all__ = ["Owl"]

_WORDS_TOGETHER = 64
"""The number of words that are encoded in one call."""


class Owl(WordModel):
    """Encodes the words once, and each image once, however many words there are."""

    def __init__(self, model: Any, processor: Any, words: Sequence[str]) -> None:
        super().__init__(model, processor, words)
        limit = model.config.text_config.max_position_embeddings
        encoded = processor.tokenizer(list(words), verbose=False)["input_ids"]
        check_lengths(words, map(len, encoded), limit)

    @property
    def groups(self) -> Sequence[range]:
        """All words: each is encoded on its own."""
        return [range(len(self._words))]

    def find(
        self, images: Sequence[PIL.Image.Image], threshold: float, *, is_best_only: bool
    ) -> list[list[Found]]:
        """See `WordModel`."""
        features, _ = self._model.image_embedder(self._pixels(images)["pixel_values"])
        patches = features.flatten(1, 2)
        words = self._embeddings.expand(len(images), -1, -1)
        logits, _ = self._model.class_predictor(patches, words)
        boxes = self._model.box_predictor(patches, features)
        found = found_of_words(
            self._processor.image_processor,
            logits.float(),
            boxes.float(),
            images,
            threshold,
            first=0,
            is_best_only=is_best_only,
        )
        return [[each] for each in found]

    @cached_property
    def _embeddings(self) -> Tensor:
        """`[words, D]`, of length 1."""
        base = getattr(self._model, self._model.base_model_prefix)
        parts = []
        for start in range(0, len(self._words), _WORDS_TOGETHER):
            some = list(self._words[start : start + _WORDS_TOGETHER])
            inputs = self._processor(text=some, return_tensors="pt").to(self._model.device)
            features = base.get_text_features(inputs["input_ids"], inputs["attention_mask"])
            parts.append(getattr(features, "pooler_output", features))
        embeddings = torch.cat(parts)
        normed: Tensor = embeddings / embeddings.norm(dim=-1, keepdim=True)
        return normed
