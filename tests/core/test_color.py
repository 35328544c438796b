"""Adaptive instance normalisation of latents."""

import pytest
import torch
from denoisers import assert_close, gaussian

from magicstyle_core.color import adain


@pytest.fixture
def latent():
    return gaussian((2, 4, 9, 13), 1)


@pytest.fixture
def reference():
    return 3 * gaussian((2, 4, 6, 5), 2) + 1


def statistics(x):
    return x.mean((2, 3)), x.std((2, 3), correction=0)


def test_the_result_has_the_references_mean_and_deviation_per_channel(latent, reference):
    for actual, expected in zip(statistics(adain(latent, reference)), statistics(reference), strict=True):
        assert_close(actual, expected)


def test_the_result_differs_from_the_latent_by_an_affine_map_per_channel(latent, reference):
    def normalised(x):
        mean, deviation = (statistic[:, :, None, None] for statistic in statistics(x))
        return (x - mean) / deviation

    assert_close(normalised(adain(latent, reference)), normalised(latent), 1e-10)


def test_strength_zero_returns_the_latent_bit_for_bit(latent, reference):
    assert torch.equal(adain(latent, reference, 0.0), latent)
    assert torch.equal(adain(latent.half(), reference.half(), 0), latent.half())
    assert torch.equal(adain(latent, reference * float("nan"), 0), latent)


def test_strength_blends_linearly(latent, reference):
    expected = 0.7 * latent + 0.3 * adain(latent, reference)
    assert_close(adain(latent, reference, 0.3), expected)


def test_a_latent_aligned_to_itself_stays_as_it_is(latent):
    assert_close(adain(latent, latent), latent)


def test_one_reference_serves_a_batch_and_several_serve_row_by_row(latent, reference):
    one = adain(latent, reference[:1])
    assert_close(one[1:], adain(latent[1:], reference[:1]))
    assert_close(adain(latent, reference)[1:], adain(latent[1:], reference[1:]))


def test_a_constant_channel_takes_the_references_mean_and_no_nan(latent, reference):
    flat = latent.clone()
    flat[:, 1] = 0.25
    aligned = adain(flat, reference)
    assert bool(aligned.isfinite().all())
    assert_close(aligned[:, 1].mean((1, 2)), reference[:, 1].mean((1, 2)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_latent_of_one_cell_takes_the_references_mean(reference, dtype):
    aligned = adain(torch.ones(2, 4, 1, 1, dtype=dtype), reference)
    assert_close(aligned[..., 0, 0].double(), reference.mean((2, 3)), 1e-3)


def test_the_arguments_stay_as_they_are(latent, reference):
    before = latent.clone(), reference.clone()
    adain(latent, reference, 0.5)
    assert torch.equal(latent, before[0])
    assert torch.equal(reference, before[1])
