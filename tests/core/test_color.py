"""Colour alignment of latents: per channel (AdaIN), and over all channels (transport)."""

import pytest
import torch
from denoisers import assert_close, gaussian

from magicstyle_core.sampling.color import adain, transport

BOTH = pytest.mark.parametrize("align", [adain, transport])


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


@BOTH
def test_strength_zero_returns_the_latent_bit_for_bit(align, latent, reference):
    assert torch.equal(align(latent, reference, 0.0), latent)
    assert torch.equal(align(latent.half(), reference.half(), 0), latent.half())
    assert torch.equal(align(latent, reference * float("nan"), 0), latent)


@BOTH
def test_strength_blends_linearly(align, latent, reference):
    expected = 0.7 * latent + 0.3 * align(latent, reference)
    assert_close(align(latent, reference, 0.3), expected)


def test_a_latent_aligned_to_itself_stays_as_it_is(latent):
    assert_close(adain(latent, latent), latent)
    assert_close(transport(latent, latent), latent, 1e-6)


def covariance(x):
    centered = (x - x.mean((2, 3), keepdim=True)).flatten(2)
    return centered @ centered.mT / centered.shape[2]


def test_transport_gives_the_references_mean_and_covariance(latent, reference):
    moved = transport(latent, reference)
    assert_close(moved.mean((2, 3)), reference.mean((2, 3)), 1e-6)
    assert_close(covariance(moved), covariance(reference), 1e-3)  # the floor under variances


def test_transport_is_a_symmetric_positive_map(latent, reference):
    """Of the affine maps with these moments (any may be followed by a rotation) it turns nothing around."""
    source = (latent - latent.mean((2, 3), keepdim=True)).flatten(2)
    moved = transport(latent, reference)
    target = (moved - moved.mean((2, 3), keepdim=True)).flatten(2)
    matrix = target @ source.mT @ torch.linalg.inv(source @ source.mT)
    assert_close(matrix, matrix.mT, 1e-5)
    assert bool((torch.linalg.eigvalsh(matrix) > 0).all())


def test_transport_is_adain_where_channels_are_independent():
    bits = [torch.tensor([[(i >> k) & 1 for i in range(8)]], dtype=torch.float64) for k in range(3)]
    latent = torch.stack(bits, 1)[:, :, None]  # (1, 3, 1, 8): uncorrelated exactly
    reference = latent * torch.tensor([2.0, 0.5, 3.0]).view(1, 3, 1, 1).double() - 1
    assert_close(transport(latent, reference), adain(latent, reference), 1e-3)


@BOTH
def test_one_reference_serves_a_batch_and_several_serve_row_by_row(align, latent, reference):
    one = align(latent, reference[:1])
    assert_close(one[1:], align(latent[1:], reference[:1]))
    assert_close(align(latent, reference)[1:], align(latent[1:], reference[1:]))


@BOTH
def test_a_constant_channel_takes_the_references_mean_and_no_nan(align, latent, reference):
    flat = latent.clone()
    flat[:, 1] = 0.25
    aligned = align(flat, reference)
    assert bool(aligned.isfinite().all())
    assert_close(aligned[:, 1].mean((1, 2)), reference[:, 1].mean((1, 2)))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_latent_of_one_cell_takes_the_references_mean(align, reference, dtype):
    aligned = align(torch.ones(2, 4, 1, 1, dtype=dtype), reference)
    assert_close(aligned[..., 0, 0].double(), reference.mean((2, 3)), 1e-3)


@BOTH
def test_the_arguments_stay_as_they_are(align, latent, reference):
    before = latent.clone(), reference.clone()
    align(latent, reference, 0.5)
    assert torch.equal(latent, before[0])
    assert torch.equal(reference, before[1])
