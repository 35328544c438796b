"""The attention of every method as its authors wrote it, on one picture each, in numpy and float64.

Written from the papers' formulas on projected queries, keys and values, one head after the other, with nothing of the
pack: what the pack's rules are held against. `steps` count from 0 at the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # float64


@dataclass(frozen=True)
class Picture:
    """What one self-attention sees of a picture: hidden states `h` (T, C) on a `grid`, and their projections."""

    h: Array
    grid: tuple[int, int]
    q: Array
    k: Array
    v: Array
    to_q: Array  # (C, C), from the right
    heads: int


def picture(h: Array, grid: tuple[int, int], to_q: Array, to_k: Array, to_v: Array, heads: int) -> Picture:
    """Project hidden states."""
    return Picture(h, grid, h @ to_q, h @ to_k, h @ to_v, to_q, heads)


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def split(x: Array, heads: int) -> Array:
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)  # (heads, T, D)


def join(x: Array) -> Array:
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def attend(q: Array, k: Array, v: Array, heads: int, temperature: float = 1.0) -> Array:
    """softmax(temperature q k^T / sqrt(d)) v."""
    q, k, v = (split(x, heads) for x in (q, k, v))
    return join(softmax(temperature * q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])) @ v)


def plain(live: Picture) -> Array:
    return attend(live.q, live.k, live.v, live.heads)


def magicstyle(live, content, style, step, steps, beta, temperature, details):
    """Queries from the mean of content and running image, and from the style relaid on it; from a fifth of the way on
    the content's finest tokens are read, too, as if each were there eight times."""
    own = (content.h + live.h) / 2
    query = ((1 - beta) * own + beta * relaid(style, own, content.grid)) @ live.to_q
    k, v = style.k, style.v
    if step / steps >= 0.2 and details:
        finest = np.argsort(-np.linalg.norm(fine(content.h, content.grid), axis=2).ravel(), kind="stable")
        kept = np.repeat(finest[: max(1, round(details * len(content.h)))], 8)
        k, v = np.concatenate([content.k[kept], k]), np.concatenate([content.v[kept], v])
    return attend(query, k, v, live.heads, temperature)


def relaid(style: Picture, own: Array, grid: tuple[int, int]) -> Array:
    """What resembles every token, the strokes there in pieces of 4x4, and what repeats in the style where it lies."""
    wanted = (own - own.mean(0)) / own.std(0) * style.h.std(0)
    offered = style.h - style.h.mean(0)
    wanted, offered = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (wanted, offered))
    assert grid == style.grid
    height, width = grid
    strokes = fine(style.h, grid)
    order = repeating(strokes) if min(grid) > 6 else np.zeros_like(strokes)
    side = min(4, *grid)
    alike = (wanted @ offered.T).reshape(height, width, height, width)
    laid = np.empty_like(strokes)
    for y in range(0, height, side):
        for x in range(0, width, side):
            scores = {
                (v, u): sum(alike[y + i, x + j, v + i, u + j] for i in range(side) for j in range(side))
                for v in range(height - side + 1)
                for u in range(width - side + 1)
            }
            v, u = max(scores, key=scores.__getitem__)
            laid[y : y + side, x : x + side] = (strokes - order)[v : v + side, u : u + side]
    matched = softmax(20 * wanted @ offered.T) @ style.h
    return matched + (2.3 * laid + 3.5 * order).reshape(style.h.shape)


def fine(h: Array, grid: tuple[int, int]) -> Array:
    """Hidden states (T, C) less the mean of the 5x5 around, reflected at the borders: (h, w, C)."""
    image = smooth = h.reshape(*grid, -1)
    for axis, side in enumerate(grid):
        window = min(5, side - 1 + side % 2)
        half = window // 2
        ends = [(half, half) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(smooth, ends, mode="reflect")
        smooth = np.mean([padded.take(range(s, s + side), axis) for s in range(window)], 0)
    return image - smooth


def repeating(image: Array) -> Array:
    """The waves of (h, w, C) whose power stands out eightfold from the middle of the 7x7 waves around."""
    waves = np.fft.fft2(image, axes=(0, 1))
    power = (np.abs(waves) ** 2).sum(2)
    shifts = [(y, x) for y in range(-3, 4) for x in range(-3, 4)]
    middle = np.median([np.roll(power, shift, (0, 1)) for shift in shifts], 0)
    out = (power / (8 * middle)) ** 2
    return np.fft.ifft2(waves * (out / (1 + out))[..., None], axes=(0, 1)).real


def magicstyle_paper(live, content, style, step, steps, beta):
    """Attn(alpha Q_c + beta Q_s, K_s, V_s), arXiv 2409.08156."""
    return attend((1 - beta) * content.q + beta * style.q, style.k, style.v, live.heads)


def magicstyle_joined(live, content, style, step, steps, beta, style_weight):
    """One softmax; an exponential of a style key counts style_weight times."""
    q = split((1 - beta) * content.q + beta * style.q, live.heads)
    out = []
    for head in range(live.heads):
        one, other = (np.exp(q[head] @ split(p.k, p.heads)[head].T / np.sqrt(q.shape[-1])) for p in (content, style))
        mass = one.sum(1) + style_weight * other.sum(1)
        values = [split(p.v, p.heads)[head] for p in (content, style)]
        out.append((one @ values[0] + style_weight * other @ values[1]) / mass[:, None])
    return join(np.stack(out))


def magicstyle_sum(live, content, style, step, steps, beta, style_share):
    """w_c Attn(Q, K_c, V_c) + w_s Attn(Q, K_s, V_s)."""
    q = (1 - beta) * content.q + beta * style.q
    parts = [attend(q, p.k, p.v, live.heads) for p in (content, style)]
    return (1 - style_share) * parts[0] + style_share * parts[1]


def styleid(live, content, style, step, steps, gamma, temperature):
    """Attn(gamma Q_c + (1 - gamma) Q, K_s, V_s) with logits times T, arXiv 2312.09008."""
    return attend(gamma * content.q + (1 - gamma) * live.q, style.k, style.v, live.heads, temperature)


def portrait_diffusion(live, content, style, step, steps, guidance, switch):
    """From the SAC step on extrapolated from the content's queries, arXiv 2312.02212."""
    of_content = attend(content.q, style.k, style.v, live.heads)
    if step < switch * steps:
        return of_content
    return of_content + guidance * (attend(live.q, style.k, style.v, live.heads) - of_content)


def masactrl(live, content, style, step, steps, start):
    """Mutual self-attention from a step on, arXiv 2304.08465."""
    return plain(live) if step < start * steps else attend(live.q, style.k, style.v, live.heads)


def visual_style_prompting(live, content, style, step, steps):
    """Swapped keys and values, arXiv 2402.12974."""
    return attend(live.q, style.k, style.v, live.heads)


def cross_image(live, content, style, step, steps, contrast, last):
    """clip((P - 1/N) f + 1/N, 0, 1) V in a part of the way; now and then the structure's, arXiv 2311.03335."""
    if not 0.1 * steps <= step < last * steps:
        return plain(live)
    read = content if step % 5 == 0 and step < 0.4 * steps else style
    q, k, v = (split(x, live.heads) for x in (live.q, read.k, read.v))
    p = softmax(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]))
    return join(np.clip((p - 1 / k.shape[1]) * contrast + 1 / k.shape[1], 0, 1) @ v)


def zepo(live, content, style, step, steps, mix, style_scale):
    """One softmax over content and style, the style's logits times a factor, arXiv 2408.05492."""
    q = split(mix * live.q + (1 - mix) * content.q, live.heads)
    logits = [q @ split(p.k, p.heads).swapaxes(1, 2) / np.sqrt(q.shape[-1]) for p in (content, style)]
    p = softmax(np.concatenate([logits[0], style_scale * logits[1]], -1))
    return join(p @ np.concatenate([split(x.v, x.heads) for x in (content, style)], 1))


def style_aligned(live, content, style, step, steps, style_scale, style_weight):
    """AdaIN of queries and keys, then one softmax over both; a shift of log(weight) on the style, arXiv 2312.02133."""

    def adain(x, reference):
        ours, theirs = (np.sqrt(a.var(0, ddof=1) + 1e-5) for a in (x, reference))
        return (x - x.mean(0)) / ours * theirs + reference.mean(0)

    q, k = split(adain(live.q, style.q), live.heads), split(adain(live.k, style.k), live.heads)
    root = np.sqrt(q.shape[-1])
    own = q @ k.swapaxes(1, 2) / root
    other = style_scale * (q @ split(style.k, style.heads).swapaxes(1, 2) / root) + np.log(style_weight)
    p = softmax(np.concatenate([own, other], -1))
    return join(p @ np.concatenate([split(x.v, x.heads) for x in (live, style)], 1))


def diffstyler(live, content, style, step, steps, ramp):
    """Q and K from source to own, r = min(1, ramp t / T); V its own, arXiv 2403.18461."""
    r = min(1.0, ramp * (steps - step) / steps)
    return attend(r * content.q + (1 - r) * live.q, r * content.k + (1 - r) * live.k, live.v, live.heads)


def standard(live, content, style, step, steps):
    return plain(live)


# By the methods' names; a method whose parts differ by layers has a formula for each.
PUBLISHED = {
    "MagicStyle": [magicstyle],
    "MagicStyle, as published": [magicstyle_paper],
    "MagicStyle, joined keys": [magicstyle_joined],
    "MagicStyle, sum of attentions": [magicstyle_sum],
    "StyleID": [styleid],
    "PortraitDiffusion": [portrait_diffusion],
    "MasaCtrl": [masactrl],
    "Visual Style Prompting": [visual_style_prompting],
    "Cross-image attention": [
        lambda *pictures, contrast: cross_image(*pictures, contrast=contrast, last=0.9),  # 64 x 64 tokens
        lambda *pictures, contrast: cross_image(*pictures, contrast=contrast, last=0.7),  # 32 x 32
    ],
    "ZePo": [zepo],
    "StyleAligned": [style_aligned],
    "DiffStyler": [diffstyler],
    "Standard attention": [standard],
}

# Dials as published, and other values at which a formula is not by chance another one.
PUBLISHED_DIALS = {
    "MagicStyle": [
        {"beta": 0.3, "temperature": 1.0, "details": 0.1},
        {"beta": 0.7, "temperature": 1.3, "details": 0.4},
    ],
    "MagicStyle, as published": [{"beta": 0.2}, {"beta": 0.6}],
    "MagicStyle, joined keys": [{"beta": 0.2, "style_weight": 4.0}, {"beta": 0.5, "style_weight": 0.3}],
    "MagicStyle, sum of attentions": [{"beta": 0.2, "style_share": 0.5}, {"beta": 0.4, "style_share": 0.8}],
    "StyleID": [{"gamma": 0.75, "temperature": 1.5}, {"gamma": 0.3, "temperature": 0.7}],
    "PortraitDiffusion": [{"guidance": 1.5, "switch": 0.7}, {"guidance": 0.4, "switch": 0.2}],
    "MasaCtrl": [{"start": 0.08}, {"start": 0.5}],
    "Visual Style Prompting": [{}],
    "Cross-image attention": [{"contrast": 1.67}, {"contrast": 3.0}],
    "ZePo": [{"mix": 1.0, "style_scale": 1.2}, {"mix": 0.4, "style_scale": 0.5}],
    "StyleAligned": [{"style_scale": 1.0, "style_weight": 1.0}, {"style_scale": 0.5, "style_weight": 2.0}],
    "DiffStyler": [{"ramp": 2.0}, {"ramp": 0.8}],
    "Standard attention": [{}],
}
