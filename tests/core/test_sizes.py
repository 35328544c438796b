"""Style and content of different size and aspect, odd and large latents, few and many steps (law 8)."""

import pytest
import torch
import torch.nn.functional as F
from denoisers import (
    Conditioning,
    UNetDenoiser,
    assert_close,
    capture,
    descending,
    feature,
    fusion,
    select,
    smooth_latent,
)
from formulas import attend, look, project, scenes
from unet import ThinUNet

from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.sampling.ddim import FixedPoint, sample

FFA = FeatureFusion()
STEP = 1


def banks(model, content_size, style_size, steps=2):
    sigmas = descending(steps)
    return [
        capture(model, smooth_latent(*size, seed), sigmas)[0] for size, seed in ((content_size, 1), (style_size, 2))
    ]


def fuse(model, content, style, rule=FFA, **options):
    return model.patched(fusion(model, rule, content, style, **options))


@pytest.mark.parametrize("keys", ["style", "content+style", "live+style"])
@pytest.mark.parametrize(("content_size", "style_size"), [((8, 8), (4, 6)), ((9, 13), (16, 4)), ((8, 12), (12, 8))])
def test_keys_and_values_are_read_at_the_styles_own_size(model, content_size, style_size, keys):
    content, style = banks(model, content_size, style_size)
    running = content.trajectory.latents[STEP] + 0.3 * smooth_latent(*content_size, 3)
    patched = fuse(model, content, style, FeatureFusion(alpha=1, beta=0, keys=keys))
    for _, scene in scenes(patched, running, content, style, STEP):
        before = {"style": (), "content+style": (scene.content,), "live+style": (scene.live,)}[keys]
        k, v = (torch.cat([getattr(p, name) for p in (*before, scene.style)], 2) for name in "kv")
        scene.expect(attend(scene.content.q, k, v))


@pytest.mark.parametrize(("content_size", "style_size"), [((8, 12), (4, 6)), ((9, 13), (8, 8)), ((16, 8), (4, 4))])
def test_a_smaller_styles_queries_are_resampled_bilinearly_on_the_grid(model, content_size, style_size):
    content, style = banks(model, content_size, style_size)
    running = content.trajectory.latents[STEP]
    for name, layer in look(fuse(model, content, style), running, content.trajectory.sigmas[STEP : STEP + 1]).items():
        attention = model.unet.block(name).attn1
        hidden_c, (hidden_s, grid) = (
            feature(content, STEP, name, like=running).hidden,
            feature(style, STEP, name, like=running),
        )
        image = hidden_s.transpose(1, 2).unflatten(2, grid)
        target = feature(content, STEP, name, like=running).grid
        resampled = F.interpolate(image, size=target, mode="bilinear").flatten(2).transpose(1, 2)
        q = 0.8 * project(attention, hidden_c).q + 0.2 * project(attention, resampled).q
        expected = attention.to_out(attend(q, *project(attention, hidden_s)[1:]))
        # Resampling is done in single precision.
        assert_close(layer.output, expected, 1e-5)


def test_a_larger_styles_queries_are_averaged_down(model):
    """To half the size: antialiased, so that no token of the style is left out."""
    content, style = banks(model, (4, 6), (8, 12))
    for layer in select(model):
        kept = feature(style, STEP, layer.key, like=content.trajectory.latents)
        target = layer.grid(4, 6)
        moved = kept.hidden.clone()
        moved[:, 0] += 1
        assert not torch.equal(kept.on(target), kept._replace(hidden=moved).on(target))
        assert kept.on(target).mean() == pytest.approx(float(kept.hidden.mean()), abs=0.05)


@pytest.mark.parametrize(("content_size", "style_size"), [((9, 13), (8, 8)), ((8, 8), (9, 13)), ((12, 4), (4, 12))])
@pytest.mark.parametrize("steps", [1, 2])
def test_odd_sizes_run_to_the_end(model, content_size, style_size, steps):
    content, style = banks(model, content_size, style_size, steps)
    way = content.trajectory
    result = sample(fuse(model, content, style), way.latents[-1], way.sigmas.flip(0), way.residuals_down(steps))
    assert result.shape == way.latents[0].shape
    assert bool(result.isfinite().all())
    assert not torch.allclose(result, way.latents[0], atol=1e-3)


def test_fifty_steps_find_fifty_different_features(model):
    """Each evaluation is fused with the features of its own step, however close the sigmas are."""
    sigmas = descending(50)
    (content,) = capture(model, smooth_latent(8, 8, 1), sigmas, FixedPoint(), layers="middle")
    assert [content.step_at(float(sigma)) for sigma in sigmas[:-1]] == list(range(50, 0, -1))
    (layer,) = content.layers
    patched = model.patched(fusion(model, FFA, content, content, "middle"))
    attention = model.unet.block(layer.key).attn1
    for step in (1, 2, 25, 49, 50):
        seen = look(patched, content.trajectory.latents[step], content.trajectory.sigmas[step : step + 1])
        hidden = feature(content, step, layer.key, like=seen[layer.key].live).hidden
        expected = attention(hidden, hidden, hidden)
        assert_close(seen[layer.key].output, expected)


def test_a_latent_of_64x48_is_fused_with_a_small_style_in_single_precision():
    model = UNetDenoiser(ThinUNet(0).float(), (Conditioning.random("positive", 1),))
    sigmas = descending(1).float()
    content, style = (
        capture(model, smooth_latent(*size, seed).float(), sigmas, FixedPoint(), dtype=torch.float16)[0]
        for size, seed in (((64, 48), 1), ((8, 8), 2))
    )
    result = sample(fuse(model, content, style), content.trajectory.latents[-1], sigmas)
    assert (result.shape, result.dtype) == ((1, 4, 64, 48), torch.float32)
    assert bool(result.isfinite().all())


@pytest.mark.parametrize("size", [(8, 8), (12, 8), (10, 14)])
def test_a_latent_of_another_size_than_the_content_is_refused(model, size):
    """Also one with as many tokens: 12x8 is not 8x12."""
    content, style = banks(model, (8, 12), (8, 8))
    expected = rf"inverted with 8x12 tokens at layer input\.1\.0, the running latent has {size[0]}x{size[1]}\."
    with pytest.raises(ValueError, match=expected):
        fuse(model, content, style)(smooth_latent(*size, 1), content.trajectory.sigmas[1:2])
