"""The demo model's encoder of prompts as the host's CLIP."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

import comfy.sd
import comfy.sd1_clip
from comfy.supported_models_base import ClipTarget

from ..demo.text.encoder import LAYERS, TextEncoder
from ..demo.text.vocabulary import LENGTH, PADDING, padded, tokenize, words
from ..magicstyle_core.text import quoted

log = logging.getLogger(__name__)

NAME = "demo"  # of the encoder, in the host's tokens and in keys of LoRAs: text_encoders.demo.transformer.layers.0.up
LONGEST = 20_000  # characters
HEAVIEST = 100.0
NAMED = 20  # unknown words in the log

Token = tuple  # (number, weight), and the word's place if asked for


def load_clip(weights: dict[str, Tensor]) -> comfy.sd.CLIP:
    """The encoder of these weights (state dict of ``TextEncoder``) behind CLIP Text Encode."""
    # As the demo model's UNet, it is too small to be worth loading in parts.
    return comfy.sd.CLIP(
        ClipTarget(DemoTokenizer, DemoEncoder), state_dict=[weights], model_options={"dtype": torch.float32},
        disable_dynamic=True,
    )  # fmt: skip


class WordTokenizer:
    """Prompts to chunks of weighted words, in the protocol of the host's ``SDTokenizer``."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
        """What the host hands over is for other tokenizers: the demo model has no embeddings."""

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_options: Any) -> list[list[Token]]:
        """Chunks of ``LENGTH`` tokens; ``ValueError`` for a prompt that cannot be weighted. Unknown words go to the log."""
        tokens, weights, unknown = [], [], {}
        for part, weight in _weighted(text):
            found, others = tokenize(part, tokens)
            tokens += found
            weights += [weight] * len(found)
            unknown |= dict.fromkeys(others)
        if unknown:
            _tell(list(unknown), bool(tokens))
        padding = len(padded(tokens)) - len(tokens)
        row = list(zip(tokens, weights, range(1, len(tokens) + 1), strict=True)) + [(PADDING, 1.0, 0)] * padding
        if not return_word_ids:
            row = [token[:2] for token in row]
        return [row[start : start + LENGTH] for start in range(0, len(row), LENGTH)]

    def untokenize(self, tokens: Sequence[Token]) -> list[tuple[Token, str]]:
        return [(token, self.decode([token[0]])) for token in tokens]

    def decode(self, token_ids: Sequence[int], **_options: Any) -> str:
        return " ".join(words()[token - 1] for token in token_ids if token != PADDING)

    def state_dict(self) -> dict:
        return {}


class DemoTokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, name=NAME, tokenizer=WordTokenizer)


class WordEncoder(torch.nn.Module, comfy.sd1_clip.ClipTokenWeightEncoder):
    """The encoder in the protocol of the host's ``SDClipModel``, which weights its rows against the empty prompt's."""

    special_tokens = {"pad": PADDING}

    def __init__(
        self, device: Any = "cpu", dtype: torch.dtype | None = None, model_options: dict | None = None
    ) -> None:
        super().__init__()
        self.transformer = TextEncoder().to(device, dtype).requires_grad_(False)
        self.reset_clip_options()

    def reset_clip_options(self) -> None:
        self.layers, self.device = LAYERS, None

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """``layer`` is CLIP Set Last Layer's, from the end; beyond the first the host reads all."""
        layer = options.get("layer")
        if layer is not None:
            self.layers = LAYERS + 1 + layer if -LAYERS <= layer < 0 else LAYERS
        self.device = options.get("execution_device", self.device)

    def encode(self, tokens: list[list[int]]) -> tuple[Tensor, None]:
        """Chunks of tokens to their rows ``(chunks, LENGTH, 64)``; there is no pooled output."""
        device = self.transformer.positions.device if self.device is None else self.device
        return self.transformer(torch.tensor(tokens).to(device), self.layers), None

    def load_sd(self, weights: dict[str, Tensor]) -> Any:
        return self.transformer.load_state_dict(weights)


class DemoEncoder(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, **options: Any) -> None:
        super().__init__(name=NAME, clip_model=WordEncoder, **options)


def _weighted(text: str) -> Iterator[tuple[str, float]]:
    """Parts of a prompt with the weights of the brackets around them, as the host reads brackets."""
    if len(text) > LONGEST:
        raise ValueError(
            f"The prompt has {len(text):,} characters; the demo model reads at most {LONGEST:,}, and was trained on "
            f"{LENGTH} words. Shorten it."
        )
    try:
        parts = comfy.sd1_clip.token_weights(comfy.sd1_clip.escape_important(text), 1.0)
    except RecursionError:
        raise ValueError("Too many brackets within brackets. Write a weight as a number: (red hair:1.3).") from None
    for part, weight in parts:
        if not abs(weight) <= HEAVIEST:
            raise ValueError(
                f"{quoted(part.strip())} has the weight {weight:g}; a weight is a number from {-HEAVIEST:g} to {HEAVIEST:g}, "
                "and 0.5 to 1.5 are useful: (red hair:1.3)."
            )
        yield comfy.sd1_clip.unescape_important(part), weight


def _tell(unknown: list[str], others: bool) -> None:
    log.warning(
        "The demo model does not know %s%s: %s. Its words are those of demo/text/words.txt.",
        ", ".join(map(quoted, unknown[:NAMED])),
        f" and {len(unknown) - NAMED} others" if len(unknown) > NAMED else "",
        "left out of the prompt" if others else "nothing is left of the prompt, which is read as an empty one",
    )
