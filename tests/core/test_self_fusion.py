"""A bank fused with itself changes nothing (law 2)."""

import pytest
import torch
from denoisers import assert_close, capture, descending, fusion, relative, smooth_latent
from formulas import look

from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.sampling.ddim import FixedPoint, sample

RULES = [
    FeatureFusion(),
    FeatureFusion(alpha=0.3, beta=0.7),
    FeatureFusion(keys="content+style"),
    FeatureFusion(keys="content"),
    FeatureFusion(alpha=0.5, beta=0.5, queries="live"),
    FeatureFusion(keys="live+style"),
]


def with_itself(model, bank, rule, **options):
    return model.patched(fusion(model, rule, bank, bank, **options))


def back(model, bank, detail=1.0):
    way = bank.trajectory
    return sample(model, way.latents[-1], way.sigmas.flip(0), way.residuals_down(way.steps), detail)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_attention_equals_the_captured_one(model, content, rule):
    way = content.trajectory
    for step in range(1, 5):
        state = way.latents[step], way.sigmas[step : step + 1]
        plain, fused = look(model, *state), look(with_itself(model, content, rule), *state)
        for key in plain:
            assert_close(fused[key].output, plain[key].output)


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_result_is_the_content(model, content, rule, strength):
    result = back(with_itself(model, content, rule, strength=strength), content)
    assert relative(result, content.trajectory.latents[0]) < 1e-11  # measured 4e-16


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
@pytest.mark.parametrize(("steps", "tolerance"), [(1, 3e-4), (2, 1e-4), (10, 1e-4)])
def test_the_result_is_the_content_with_features_in_half_precision(model, size, steps, tolerance):
    """A single step from the largest sigma multiplies rounding of the features by 15."""
    (bank,) = capture(model, smooth_latent(*size, 1), descending(steps), dtype=torch.float16)
    result = back(with_itself(model, bank, FeatureFusion()), bank)
    assert relative(result, bank.trajectory.latents[0]) < tolerance  # measured 1.6e-4, 3.9e-5, 1.1e-5


def test_a_temperature_other_than_one_is_not_neutral(model, content):
    result = back(with_itself(model, content, FeatureFusion(temperature=1.5)), content)
    assert relative(result, content.trajectory.latents[0]) > 1e-3


@pytest.mark.parametrize("method", [FixedPoint(), FixedPoint(1)], ids=str)
def test_without_residuals_fusion_with_itself_is_no_worse_than_plain_reconstruction(model, method):
    x = smooth_latent(8, 8, 1)
    (bank,) = capture(model, x, descending(10), method)
    fused, plain = back(with_itself(model, bank, FeatureFusion()), bank), back(model, bank)
    assert relative(fused, x) <= 1.05 * relative(plain, x)  # measured 1.002 and 1.0004


def test_from_any_start_step_the_result_is_the_content(model, content):
    way = content.trajectory
    for start in (1, 3):
        sigmas = way.sigmas[: start + 1].flip(0)
        patched = with_itself(model, content, FeatureFusion())
        result = sample(patched, way.latents[start], sigmas, way.residuals_down(start))
        assert relative(result, way.latents[0]) < 1e-11
