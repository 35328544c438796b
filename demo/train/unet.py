"""The demo UNet in plain torch, tuned for training on a CPU; its weights load into the host's own UNetModel.

Same modules under the same names as ComfyUI's `UNetModel(**layout.config())`, with two savings. Without a context,
which stands for one of zeros (the empty prompt), cross-attention is its output bias and nothing else is computed.
1x1 convolutions of the transformers run as matrix products over tokens. Given `hooks`, it calls their patches at every
self-attention as a host does, so that `magicstyle_core.fusion` runs on it without ComfyUI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magicstyle_core.fusion.attention import ForwardPass, LayerCall, Patch
from magicstyle_core.fusion.base import AttentionInputs
from magicstyle_core.fusion.branches import Pending
from magicstyle_core.layers import AttentionLayer, LayerKey


@dataclass(frozen=True)
class Layout:
    """Shape of a UNet with two resolutions and seven self-attention layers."""

    channels: int  # of the latent
    width: int  # channels at full resolution
    factor: int  # how many times wider half resolution is
    heads: int
    context: int  # width of the conditioning

    def config(self) -> dict[str, Any]:
        """Arguments of the host's `UNetModel`."""
        return {
            "image_size": 32,
            "in_channels": self.channels,
            "out_channels": self.channels,
            "model_channels": self.width,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, self.factor],
            "transformer_depth": [1, 1],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1, 1, 1],
            "num_heads": self.heads,
            "num_head_channels": -1,
            "use_spatial_transformer": True,
            "context_dim": self.context,
            "use_linear_in_transformer": False,
            "legacy": False,
            "adm_in_channels": None,
        }


OWN = Layout(channels=16, width=64, factor=2, heads=4, context=64)
STOCK = Layout(channels=4, width=320, factor=1, heads=8, context=768)  # the host's loader takes it for SD 1.5


class Hooks(NamedTuple):
    """Patches to call before self-attention, and the pass that they belong to."""

    patches: Sequence[Patch]
    forward: ForwardPass


class SelfAttention(nn.Module):
    """attn1: projections without bias, as in Stable Diffusion."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Identity())

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pending: Pending | None = None) -> Tensor:
        """query (B, T, C), key and value (B, S, C) to (B, T, C); `pending` runs what patches left to do."""
        q, k, v = self.to_q(query), self.to_k(key), self.to_v(value)

        def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, k, v, self.heads)

        return self.to_out(plain(q, k, v) if pending is None else pending.attend(plain, q, k, v, self.heads))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of projected q (B, T, C), k and v (B, S, C), heads side by side in C."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class CrossAttention(nn.Module):
    """attn2: the picture's cells read the prompt. Keys and values have no bias, so rows of zeros in the context draw
    attention and give nothing: a cell that no word concerns looks at those. Until `open` is called it reads nothing."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = _zero_linear(width, width, bias=False)
        self.to_k = _zero_linear(context, width, bias=False)
        self.to_v = _zero_linear(context, width, bias=False)
        self.to_out = nn.Sequential(_zero_linear(width, width), nn.Identity())

    def open(self, generator: torch.Generator) -> None:
        """Fresh random queries, keys and values; what they say counts nothing yet, so the network stays the same."""
        for layer in (self.to_q, self.to_k, self.to_v):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Cells x (B, T, C) and context (B, S, context width) to (B, T, C)."""
        return self.to_out(attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))

    def unprompted(self) -> Tensor:
        """The same over a context of zeros: (C,)."""
        return self.to_out[0].bias


class GatedLinear(nn.Module):
    """GEGLU: a linear map to twice the width, one half gating the other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Gated feed-forward part of a transformer block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedLinear(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.attn1 = SelfAttention(width, heads)
        self.attn2 = CrossAttention(width, context, heads)
        self.ff = FeedForward(width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, call: LayerCall | None = None, patches: Sequence[Patch] = ()
    ) -> Tensor:
        h = self.norm1(x)
        x = x + (self.attn1(h, h, h) if call is None else self._patched(h, call, patches))
        x = x + (self.attn2.unprompted() if context is None else self.attn2(self.norm2(x), context))
        return x + self.ff(self.norm3(x))

    def _patched(self, h: Tensor, call: LayerCall, patches: Sequence[Patch]) -> Tensor:
        """Self-attention with a host's hooks: inputs before the projections, and the attention itself."""
        inputs = AttentionInputs(h, h, h)
        for patch in patches:
            inputs = patch(inputs, call)
        return self.attn1(*inputs, call.forward.pending)


class SpatialTransformer(nn.Module):
    """One transformer block over the cells of a feature map (B, C, H, W)."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, heads, context)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(
        self, x: Tensor, key: LayerKey, hooks: Hooks | None = None, context: Tensor | None = None
    ) -> Tensor:
        height, width = x.shape[2:]
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        tokens = F.linear(tokens, self.proj_in.weight[:, :, 0, 0], self.proj_in.bias)
        if hooks is None:
            tokens = self.transformer_blocks[0](tokens, context)
        else:
            call = LayerCall(key, (height, width), len(x), hooks.forward)
            tokens = self.transformer_blocks[0](tokens, context, call, hooks.patches)
        tokens = F.linear(tokens, self.proj_out.weight[:, :, 0, 0], self.proj_out.bias)
        return x + tokens.transpose(1, 2).unflatten(2, (height, width))


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, channels: int, out_channels: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out_channels),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Resample(nn.Module):
    """A strided convolution (down, named `op`) or nearest upsampling and a convolution (up, named `conv`)."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.add_module("conv" if up else "op", nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0)) if self.up else self.op(x)


class DemoUNet(nn.Module):
    """eps-predicting UNet of one `Layout`."""

    OUTER = ("time_embed.", "input_blocks.0.", "out.")  # first and last layers, which Adam trains

    def __init__(self, layout: Layout = OWN) -> None:
        super().__init__()
        width, channels = layout.width, layout.channels
        a, b, emb = width, layout.factor * width, 4 * width
        self.layout = layout

        def transformer(channels: int) -> SpatialTransformer:
            return SpatialTransformer(channels, layout.heads, layout.context)

        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.input_blocks = nn.ModuleList(
            [
                nn.ModuleList([nn.Conv2d(channels, a, 3, padding=1)]),
                nn.ModuleList([ResBlock(a, a, emb), transformer(a)]),
                nn.ModuleList([Resample(a, up=False)]),
                nn.ModuleList([ResBlock(a, b, emb), transformer(b)]),
            ]
        )
        self.middle_block = nn.ModuleList([ResBlock(b, b, emb), transformer(b), ResBlock(b, b, emb)])
        self.output_blocks = nn.ModuleList(
            [
                nn.ModuleList([ResBlock(b + b, b, emb), transformer(b)]),
                nn.ModuleList([ResBlock(b + a, b, emb), transformer(b), Resample(b, up=True)]),
                nn.ModuleList([ResBlock(b + a, a, emb), transformer(a)]),
                nn.ModuleList([ResBlock(a + a, a, emb), transformer(a)]),
            ]
        )
        self.out = nn.Sequential(nn.GroupNorm(32, a), nn.SiLU(), nn.Conv2d(a, channels, 3, padding=1))
        self._start_quietly()

    def _start_quietly(self) -> None:
        """Every residual branch and the output start near zero."""
        for module in self.modules():
            if isinstance(module, ResBlock):
                _scale(module.out_layers[3], 0.0)
            elif isinstance(module, SpatialTransformer):
                _scale(module.proj_out, 0.0)
        _scale(self.out[2], 0.0)

    def open_to_text(self, generator: torch.Generator) -> None:
        """Let cross-attention learn, from a network that has ignored the context so far."""
        for module in self.modules():
            if isinstance(module, CrossAttention):
                module.open(generator)

    @property
    def reads_text(self) -> bool:
        """Whether a context can change anything."""
        return any(bool(m.to_k.weight.any()) for m in self.modules() if isinstance(m, CrossAttention))

    def forward(
        self, x: Tensor, timesteps: Tensor, hooks: Hooks | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Noisy latents (B, C, H, W) in VP form and timesteps (B,) in 0..999 to noise (B, C, H, W), H and W even.

        `context` (B, S, context width) is the encoded prompt; None is the empty one.
        """
        emb = self.time_embed(timestep_embedding(timesteps, self.layout.width))
        skips = []
        h = x
        for index, block in enumerate(self.input_blocks):
            h = _through(block, h, emb, LayerKey("input", index, 0), hooks, context)
            skips.append(h)
        h = _through(self.middle_block, h, emb, LayerKey("middle", 0, 0), hooks, context)
        for index, block in enumerate(self.output_blocks):
            key = LayerKey("output", index, 0)
            h = _through(block, torch.cat([h, skips.pop()], dim=1), emb, key, hooks, context)
        return self.out(h)

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """The self-attentions in the order in which they run."""
        full = [(address, 1) for address in (("input", 1), ("output", 2), ("output", 3))]
        half = [(address, 2) for address in (("input", 3), ("middle", 0), ("output", 0), ("output", 1))]
        widths = {1: self.layout.width, 2: self.layout.width * self.layout.factor}
        order = [*full[:1], *half, *full[1:]]
        return tuple(AttentionLayer(LayerKey(*address, 0), widths[scale], scale) for address, scale in order)


def timestep_embedding(timesteps: Tensor, width: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoidal embedding of timesteps (B,), cosines first: (B, width)."""
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32) / half)
    angles = timesteps.float()[:, None] * frequencies.to(timesteps.device)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _through(
    block: nn.ModuleList, h: Tensor, emb: Tensor, key: LayerKey, hooks: Hooks | None, context: Tensor | None
) -> Tensor:
    for layer in block:
        if isinstance(layer, nn.Conv2d):
            h = layer(h)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, key, hooks, context)
        else:
            h = layer(h, emb)
    return h


def _scale(layer: nn.Conv2d, factor: float) -> None:
    with torch.no_grad():
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)


def _zero_linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer of zeros that draws no random numbers: those of the other layers stay where they were."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(inputs, outputs, bias=bias)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
