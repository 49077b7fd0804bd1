"""OmDet-Turbo: each word is encoded, and a sentence that names all of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from prefect_cvat.auto_annotation.functions._word_models import (
    Found,
    WordModel,
    check_lengths,
    groups_that_fit,
)

__all__ = ["OmDetTurbo"]


class OmDetTurbo(WordModel):
    """Reads as many words in one call as fit into a sentence such as `Detect a cat, a dog.` with two.

    Words and sentences are encoded once, images once. What decodes runs for each group of words.
    """

    def __init__(self, model: Any, processor: Any, words: Sequence[str]) -> None:
        super().__init__(model, processor, words)
        self._context: int = model.config.text_config.max_position_embeddings
        check_lengths(
            words, (self._length(range(place, place + 1)) for place in range(len(words))), self._context
        )
        self._groups = groups_that_fit(len(words), lambda group: self._length(group) <= self._context)
        self._encoded: dict[range, tuple[Tensor, Tensor, Tensor]] = {}
        """By group: its words `[words, 1, D]`, its sentence `[tokens, 1, D]`, and the mask of that."""

    @property
    def groups(self) -> Sequence[range]:
        """The words of each sentence."""
        return self._groups

    def find(
        self,
        images: Sequence[PIL.Image.Image],
        threshold: float,
        *,
        is_best_only: bool,  # noqa: ARG002 - the model's processor keeps the best pairs of box and word
    ) -> list[list[Found]]:
        """See `WordModel`."""
        model, count = self._model, len(images)
        features = model.encoder(
            model.vision_backbone(self._pixels(images)["pixel_values"]), return_dict=True
        ).extracted_states
        sizes = [(image.height, image.width) for image in images]
        found: list[list[Found]] = [[] for _ in images]
        for group in self._groups:
            words, sentence, mask = self._encodings(group)
            decoded = model.decoder(
                features,
                words.expand(-1, count, -1),
                sentence.expand(-1, count, -1),
                mask.expand(count, -1),
                return_dict=True,
            )
            outputs = SimpleNamespace(
                decoder_coord_logits=decoded.decoder_coords[-1].float(),
                decoder_class_logits=decoded.decoder_classes[-1].float(),
                classes_structure=torch.full((count,), len(group), device=words.device),
            )
            on_images = self._processor.post_process_grounded_object_detection(
                outputs, threshold=threshold, nms_threshold=1.0, target_sizes=sizes
            )
            for of_image, each in zip(found, on_images, strict=True):
                of_image.append(Found(each["boxes"], each["scores"], each["labels"] + group.start))
        return found

    def _sentence(self, group: range) -> str:
        """As the processor makes it."""
        return f"Detect {', '.join(self._words[place] for place in group)}."

    def _length(self, group: range) -> int:
        """The length of a sentence, in tokens."""
        return len(self._processor.tokenizer(self._sentence(group), verbose=False)["input_ids"])

    def _encodings(self, group: range) -> tuple[Tensor, Tensor, Tensor]:
        if group not in self._encoded:
            encode = self._model.language_backbone
            ids, _ = self._tokens([self._words[place] for place in group])
            words = encode(ids, encode_type="class")[:, None]
            ids, mask = self._tokens([self._sentence(group)])
            self._encoded[group] = (words, *encode(ids, mask=mask, encode_type="task"))
        return self._encoded[group]

    def _tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        encoded = self._processor.tokenizer(
            texts, padding="max_length", max_length=self._context, return_tensors="pt"
        ).to(self._model.device)
        return encoded["input_ids"], encoded["attention_mask"]
