"""Grounding DINO and MM Grounding DINO: the words are one text, in which the model scores each token."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import PIL.Image
import torch
from torch import Tensor, nn

from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions._word_models import (
    Found,
    WordModel,
    check_lengths,
    found_of_words,
    groups_that_fit,
)
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import quoted_list

__all__ = ["GroundingDino"]

_SEPARATORS = str.maketrans(".?", "  ")
"""Characters that end a phrase for the model."""


class GroundingDino(WordModel):
    """Reads as many words in one call as its context holds, such as `a cat. a dog.` of two.

    The encoder of images and the one of texts run once for an image and a text. What follows mixes image and
    text, and runs for each of their pairs.
    """

    def __init__(self, model: Any, processor: Any, words: Sequence[str]) -> None:
        super().__init__(model, processor, words)
        tokenizer = processor.tokenizer
        # as the processor does: small letters, full stops between the words
        phrases = [" ".join(word.lower().translate(_SEPARATORS).split()) for word in words]
        self._tokens: list[list[int]] = tokenizer(phrases, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        self._check_known(tokenizer.unk_token_id)
        self._begin: int = tokenizer.cls_token_id
        self._end: int = tokenizer.sep_token_id
        self._stop: int = tokenizer.convert_tokens_to_ids(".")
        context: int = model.config.max_text_len
        check_lengths(words, map(len, self._tokens), context - 3)  # begin, full stop, end
        self._groups = groups_that_fit(
            len(words), lambda group: 2 + sum(len(self._tokens[place]) + 1 for place in group) <= context
        )
        self._texts: dict[int, Any] = {}
        """What the encoder of texts made of each group."""

    @property
    def groups(self) -> Sequence[range]:
        """The words of each text."""
        return self._groups

    def find(
        self, images: Sequence[PIL.Image.Image], threshold: float, *, is_best_only: bool
    ) -> list[list[Found]]:
        """See `WordModel`."""
        inputs = self._pixels(images)
        found: list[list[Found]] = [[] for _ in images]
        with self._encoding_images_once():
            for number, group in enumerate(self._groups):
                with self._encoding_texts_once(number):
                    outputs = self._model(**inputs, **self._text(group, len(images)))
                of_group = found_of_words(
                    self._processor.image_processor,
                    self._word_logits(outputs.logits.float(), group),
                    outputs.pred_boxes.float(),
                    images,
                    threshold,
                    first=group.start,
                    is_best_only=is_best_only,
                )
                for of_image, each in zip(found, of_group, strict=True):
                    of_image.append(each)
        return found

    def _check_known(self, unknown: int) -> None:
        unreadable = [
            word
            for word, tokens in zip(self._words, self._tokens, strict=True)
            if all(token == unknown for token in tokens)
        ]
        if unreadable:
            raise BadFunctionError(
                f"the vocabulary of the model has none of the words {quoted_list(unreadable)}; give other"
                f" words with {argument('prompts')}, or null to leave a label out"
            )

    def _text(self, group: range, images: int) -> dict[str, Tensor]:
        """The words of a group as a text, with special tokens, the same for all images."""
        tokens = [self._begin]
        for place in group:
            tokens += [*self._tokens[place], self._stop]
        ids = torch.tensor([*tokens, self._end], device=self._model.device).expand(images, -1)
        return {
            "input_ids": ids,
            "token_type_ids": torch.zeros_like(ids),
            "attention_mask": torch.ones_like(ids),
        }

    def _word_logits(self, logits: Tensor, group: range) -> Tensor:
        """Make logits of words, `[N, queries, words]`, of those of tokens: a word has that of its best."""
        columns, start = [], 1
        for place in group:
            end = start + len(self._tokens[place])
            columns.append(logits[..., start:end].amax(-1))
            start = end + 1  # a full stop comes after each word
        return torch.stack(columns, dim=-1)

    def _encoding_images_once(self) -> contextlib.AbstractContextManager[None]:
        """Let the model use the features of the images that it has made for the first text."""
        kept: list[tuple[list[Any], list[Any]]] = []

        def forward(original: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[Any], list[Any]]:
            if not kept:
                kept.append(original(*args, **kwargs))
            features, positions = kept[0]
            return [*features], [*positions]  # the model appends to them

        return _instead(self._model.model.backbone, forward)

    def _encoding_texts_once(self, number: int) -> contextlib.AbstractContextManager[None]:
        """Let the model use the features of a text that it has made for the first images."""

        def forward(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            images = args[0].shape[0]
            if number not in self._texts:
                one = [each[:1] if isinstance(each, Tensor) else each for each in args]
                self._texts[number] = original(*one, **kwargs)
            output = self._texts[number]
            hidden = output.last_hidden_state
            return type(output)(last_hidden_state=hidden.expand(images, -1, -1))

        return _instead(self._model.model.text_backbone, forward)


@contextlib.contextmanager
def _instead(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Call `forward` for that of a part of a model, which is its first argument.

    The model takes no features for its images and texts, only pixels and tokens. One thread calls a function.
    """
    original = module.forward
    own = vars(module).get("forward")
    module.forward = lambda *args, **kwargs: forward(original, *args, **kwargs)
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
