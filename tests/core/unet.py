"""A thin UNet in Stable Diffusion's layout, with hooks at self-attention as a host has them.

Two resolutions, seven self-attentions, double precision, weights from a seed. The output is scaled down so
that the field it defines is smooth, as that of a trained network is and that of a raw random one is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magicstyle_core.fusion.attention import ForwardPass, LayerCall, Patch
from magicstyle_core.fusion.base import AttentionInputs
from magicstyle_core.fusion.branches import Pending
from magicstyle_core.layers import AttentionLayer, LayerKey

CHANNELS = 4  # of a latent
CONTEXT = 16  # width of a conditioning
WIDTHS = (32, 48)  # by resolution
OUTPUT_GAIN = 0.3


class Hooks(NamedTuple):
    """What is called at every self-attention of a pass: ``patches`` before projections, ``after`` with its output."""

    forward: ForwardPass
    patches: Sequence[Patch] = ()
    after: Sequence[Callable[[Tensor, LayerCall], Tensor]] = ()


class Attention(nn.Module):
    """Multi-head attention: projections without bias, affine output."""

    def __init__(self, width: int, context: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pending: Pending | None = None) -> Tensor:
        q, k, v = self.to_q(query), self.to_k(key), self.to_v(value)

        def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, k, v, self.heads)

        return self.to_out(plain(q, k, v) if pending is None else pending.attend(plain, q, k, v, self.heads))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (R,heads,T,D)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """GEGLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.rise(x).chunk(2, -1)
        return self.fall(x * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Self-attention with hooks, cross-attention, feed forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn1, self.attn2 = Attention(width, width), Attention(width, CONTEXT)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, call: LayerCall, hooks: Hooks) -> Tensor:
        n, pending = self.norm1(x), call.forward.pending
        inputs = AttentionInputs(n, n, n)
        for patch in hooks.patches:
            inputs = patch(inputs, call)
        n = self.attn1(*inputs, pending)
        for after in hooks.after:
            n = after(n, call)
        x = x + n
        x = x + self.attn2(self.norm2(x), context, context, pending)  # the host asks at every attention
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """Tokens of an image through ``depth`` transformer blocks."""

    def __init__(self, width: int, depth: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(width) for _ in range(depth))

    def forward(self, x: Tensor, context: Tensor, address: tuple[str, int], hooks: Hooks) -> Tensor:
        grid, images = tuple(x.shape[2:]), len(x) // len(hooks.forward.roles)
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        for depth, block in enumerate(self.transformer_blocks):
            tokens = block(tokens, context, LayerCall(LayerKey(*address, depth), grid, images, hooks.forward), hooks)
        return x + tokens.transpose(1, 2).unflatten(2, grid)


class ResBlock(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm, self.time = nn.GroupNorm(8, width), nn.Linear(WIDTHS[0], out)
        self.conv, self.skip = nn.Conv2d(width, out, 3, padding=1), nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.skip(x) + self.conv(F.silu(self.norm(x))) + self.time(time)[:, :, None, None]


class ThinUNet(nn.Module):
    """``(x (R,4,H,W), timestep (R,), context (R,M,16), hooks) -> eps (R,4,H,W)``."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        thin, wide = WIDTHS
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(CHANNELS, thin, 3, padding=1)
            self.last = nn.Conv2d(thin, CHANNELS, 3, padding=1)
            self.norm = nn.GroupNorm(8, thin)
            self.down, self.up = nn.Conv2d(thin, thin, 3, 2, 1), nn.Conv2d(wide, wide, 3, padding=1)
            shapes = {
                "input_1": (thin, thin),
                "input_3": (thin, wide),
                "middle_0": (wide, wide),
                "output_0": (wide + wide, wide),
                "output_1": (wide + thin, wide),
                "output_2": (wide + thin, thin),
                "output_3": (thin + thin, thin),
            }
            self.res = nn.ModuleDict({name: ResBlock(*shape) for name, shape in shapes.items()})
            self.attention = nn.ModuleDict(
                {
                    name: Transformer(out, depth=2 if name == "output_3" else 1)
                    for name, (_, out) in shapes.items()
                    if name != "output_0"
                }
            )
            for name, parameter in self.named_parameters():
                # Sharper than at initialisation: where all keys weigh the same, many laws hold for free.
                if "attn1.to_q" in name or "attn1.to_k" in name:
                    parameter.data *= 3
        self.double().requires_grad_(False)

    @property
    def layers(self) -> tuple[AttentionLayer, ...]:
        """Self-attentions in the order in which they run."""
        return tuple(
            AttentionLayer(LayerKey(*_address(name), depth), block.attn1.to_q.in_features, _scale(name))
            for name, transformer in self.attention.items()
            for depth, block in enumerate(transformer.transformer_blocks)
        )

    def block(self, key: LayerKey) -> TransformerBlock:
        return self.attention[f"{key.block}_{key.index}"].transformer_blocks[key.depth]

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor, hooks: Hooks) -> Tensor:
        time = _embedding(timestep)

        def run(name: str, x: Tensor) -> Tensor:
            x = self.res[name](x, time)
            return self.attention[name](x, context, _address(name), hooks) if name in self.attention else x

        skips = [self.first(x)]
        skips.append(run("input_1", skips[-1]))
        skips.append(self.down(skips[-1]))
        skips.append(run("input_3", skips[-1]))
        x = run("middle_0", skips[-1])
        x = run("output_0", torch.cat([x, skips.pop()], 1))
        x = run("output_1", torch.cat([x, skips.pop()], 1))
        x = self.up(F.interpolate(x, size=skips[-1].shape[2:]))  # odd sizes: to the size of the way down
        x = run("output_2", torch.cat([x, skips.pop()], 1))
        x = run("output_3", torch.cat([x, skips.pop()], 1))
        return OUTPUT_GAIN * self.last(F.silu(self.norm(x)))


def _address(name: str) -> tuple[str, int]:
    block, index = name.split("_")
    return block, int(index)


def _scale(name: str) -> int:
    return 1 if name in ("input_1", "output_2", "output_3") else 2


def _embedding(timestep: Tensor) -> Tensor:
    frequencies = torch.exp(-math.log(10000) * torch.arange(WIDTHS[0] // 2).to(timestep) / (WIDTHS[0] // 2))
    angles = timestep[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)
