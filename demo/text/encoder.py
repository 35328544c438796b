"""The encoder of prompts: a small transformer from tokens to the rows that cross-attention reads.

Each chunk of `LENGTH` tokens is read by itself. Rows of padding are exactly zero, and so is the whole empty prompt.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vocabulary import LENGTH, PADDING, SIZE

WIDTH, HEADS, LAYERS = 64, 4, 3


class Layer(nn.Module):
    """Attention among the words of a chunk, then a feed-forward network; both start silent."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.to_qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.to_out = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        for layer in (self.to_out, self.down):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, readable: Tensor) -> Tensor:
        """x (B, L, C); readable (B, 1, 1, L) is False for padding."""
        q, k, v = self.to_qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # (B, h, L, d)
        x = x + self.to_out(F.scaled_dot_product_attention(q, k, v, readable).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TextEncoder(nn.Module):
    """Tokens (B, L), L a multiple of `LENGTH`, to the context (B, L, WIDTH)."""

    OUTER = ("words.", "positions")  # which Adam trains

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(SIZE, WIDTH)
        self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.1)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, tokens: Tensor, layers: int = LAYERS) -> Tensor:
        """Tokens (B, L) to the context; fewer `layers` are the first ones, then the final norm."""
        count = tokens.shape[1]
        if count % LENGTH:
            raise ValueError(f"A prompt should have a multiple of {LENGTH} tokens, padding included; got {count}.")
        chunks = tokens.reshape(-1, LENGTH)
        spoken = chunks != PADDING
        readable = spoken | ~spoken.any(1, keepdim=True)  # attention over nothing would not be a number
        x = self.words(chunks) + self.positions
        for layer in self.layers[:layers]:
            x = layer(x, readable[:, None, None])
        return (self.norm(x) * spoken[..., None]).view(len(tokens), count, WIDTH)
