"""Texture by example: pieces of the style's latent in the denoised estimate, in the steps in the middle."""

import pytest
import torch
from denoisers import assert_close, descending, gaussian, gaussian_denoiser, mixture_denoiser

from magicstyle_core.sampling import texture
from magicstyle_core.sampling.color import transport
from magicstyle_core.sampling.ddim import sample
from magicstyle_core.sampling.texture import LARGEST, SMALLEST, TextureSwap, swap
from magicstyle_core.schedule import ascending


@pytest.fixture
def latent():
    return gaussian((2, 4, 7, 9), 1)


@pytest.fixture
def reference():
    return gaussian((2, 4, 6, 5), 2)


def lattice(height, width, period=3):
    """A dot in every period-th row and column, one channel: ``(1,1,H,W)``."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return ((rows % period == 0) & (columns % period == 0)).double()[None, None]


def test_a_picture_in_its_own_pieces_is_itself(latent):
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # at the edge no piece is that of the padded picture
    assert_close(swap(latent, latent)[inner], latent[inner])


def test_a_disturbed_lattice_gets_its_order_back():
    dots = lattice(12, 15)
    disturbed = dots + 0.2 * gaussian(dots.shape, 3)
    restored = swap(disturbed, lattice(9, 9))[..., 2:-2, 2:-2]
    assert_close(restored, dots[..., 2:-2, 2:-2])


@pytest.mark.parametrize("side", [1, 2, 3])
def test_overlapping_pieces_are_the_nearest_ones_averaged(latent, reference, side):
    before, after = (side - 1) // 2, side // 2
    padded = torch.nn.functional.pad(latent, (before, after, before, after), mode="replicate")
    total, times = torch.zeros_like(padded), torch.zeros_like(padded)
    for image in range(2):
        pieces = [reference[image, :, y : y + side, x : x + side] for y in range(7 - side) for x in range(6 - side)]
        for y in range(7):
            for x in range(9):
                place = (image, slice(None), slice(y, y + side), slice(x, x + side))
                total[place] += min(pieces, key=lambda piece, wanted=padded[place]: (piece - wanted).square().sum())
                times[place] += 1
    expected = (total / times)[:, :, before : before + 7, before : before + 9]
    assert_close(swap(latent, reference, side), expected)


def test_memory_is_bounded_without_changing_the_result(latent, reference, monkeypatch):
    whole = swap(latent, reference)
    monkeypatch.setattr(texture, "_AT_ONCE", 100)
    assert_close(swap(latent, reference), whole)


def test_one_style_serves_every_portrait_by_itself(latent, reference):
    together = swap(latent, reference[:1])
    for image in range(2):
        assert_close(together[image : image + 1], swap(latent[image : image + 1], reference[:1]))


def test_a_style_smaller_than_a_piece_lends_smaller_pieces(latent):
    assert swap(latent, gaussian((1, 4, 2, 2), 4)).shape == latent.shape


@pytest.mark.parametrize("steps", [20, 50])
def test_the_amount_is_what_all_steps_together_replace(latent, steps):
    down = descending(steps)
    move = TextureSwap(torch.full((1, 4, 6, 6), 0.3, dtype=torch.float64), down, 0.9)
    x = latent
    for sigma in down[:-1]:
        x = move(x, sigma)
    assert_close(x - 0.3, 0.1 * (latent - 0.3), 1e-9)


def test_only_steps_in_the_middle_are_changed(latent, reference):
    move = TextureSwap(reference, descending(20), 0.9)
    for sigma in (LARGEST * 1.01, SMALLEST * 0.99, 0.0):
        assert move(latent, torch.tensor(sigma)) is latent
    assert not torch.equal(move(latent, torch.tensor(2.0)), latent)


def test_amount_zero_samples_bit_for_bit_as_without(latent, reference):
    down, denoiser = descending(20), mixture_denoiser(gaussian((6, 4, 7, 9), 5), deviation=0.25)
    noise = latent * ascending(down)[-1]
    without = sample(denoiser, noise, down)
    assert torch.equal(sample(denoiser, noise, down, correct=TextureSwap(reference, down, 0.0)), without)
    assert not torch.equal(sample(denoiser, noise, down, correct=TextureSwap(reference, down, 0.5)), without)


def test_a_correction_moves_the_estimate_and_keeps_the_noise(latent):
    """The last step ends on the corrected estimate."""
    down, wanted, seen = descending(1), gaussian(latent.shape, 6), []
    end = sample(
        gaussian_denoiser(0.8),
        latent,
        down,
        callback=lambda state: seen.append(state["denoised"]),
        correct=lambda denoised, sigma: wanted,
    )
    assert_close(end, wanted)
    assert_close(seen[0], wanted)


def test_pieces_can_take_the_colours_of_the_picture(latent, reference):
    sigma = torch.tensor(2.0)
    laid, kept = (TextureSwap(reference, sigma[None], 1.0, strength)(latent, sigma) for strength in (1.0, 0.0))
    assert_close(laid, swap(transport(latent, reference), reference))
    assert_close(kept.mean((2, 3)), latent.mean((2, 3)))
    assert_close(kept.std((2, 3)), latent.std((2, 3)), 1e-3)  # but for the floor under the covariance


@pytest.mark.parametrize("amount", [-0.1, 1.1])
def test_an_amount_outside_of_0_to_1_is_refused(reference, amount):
    with pytest.raises(ValueError, match="between 0 and 1"):
        TextureSwap(reference, descending(4), amount)
