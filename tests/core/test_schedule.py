"""Forms of a noisy latent, schedules, lookup by sigma, windows."""

import math

import pytest
import torch
from denoisers import ALPHAS, SIGMAS, assert_close, descending, gaussian

from magicstyle_core.schedule import SigmaWindow, ascending, find_step, format_sigmas, ve_from_vp, vp_from_ve


def test_the_papers_form_of_a_noisy_latent():
    x0, noise = gaussian((2, 4, 5, 6), 1), gaussian((2, 4, 5, 6), 2)
    for index in (0, 500, 999):
        z = ALPHAS[index].sqrt() * x0 + (1 - ALPHAS[index]).sqrt() * noise
        assert_close(vp_from_ve(x0 + SIGMAS[index] * noise, SIGMAS[index]), z)


def test_the_two_forms_are_inverses_and_agree_on_clean_latents():
    x = gaussian((1, 4, 3, 3), 3)
    for sigma in SIGMAS[[0, 300, 999]]:
        assert_close(ve_from_vp(vp_from_ve(x, sigma), sigma), x, 1e-14)
    assert torch.equal(vp_from_ve(x, torch.tensor(0.0)), x)


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_ascending_flips_a_sampling_schedule(steps):
    up = ascending(descending(steps))
    assert len(up) == steps + 1
    assert up[0] == 0
    assert torch.equal(up.flip(0), descending(steps))


@pytest.mark.parametrize(
    "sigmas",
    [[], [0.0], [5.0], [5.0, 1.0], [5.0, 5.0, 0.0], [1.0, 2.0, 0.0], [math.nan, 1.0, 0.0], [2.0, 1.0, -1.0]],
)
def test_a_schedule_that_does_not_fall_strictly_to_zero_is_refused(sigmas):
    with pytest.raises(ValueError, match=r"fall strictly to 0.*scheduler"):
        ascending(torch.tensor(sigmas))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_sigma_is_found_among_a_thousand_neighbours_in_any_precision(dtype):
    up = torch.cat([SIGMAS.new_zeros(1), SIGMAS]).float()
    assert [find_step(up, float(sigma.to(dtype))) for sigma in SIGMAS] == list(range(1, 1001))


def test_a_neighbour_is_never_taken_for_a_missing_sigma():
    # Closest neighbours of the thousand differ by 0.38 percent; the lookup accepts 0.1.
    assert float(SIGMAS.log().diff().min()) > 3e-3
    for missing in range(1000):
        up = torch.cat([SIGMAS.new_zeros(1), SIGMAS[:missing], SIGMAS[missing + 1 :]])
        assert find_step(up, float(SIGMAS[missing])) is None


def test_zero_is_the_clean_step_only_where_the_schedule_has_it():
    assert find_step(torch.tensor([0.0, 1.0]), 0.0) == 0
    assert find_step(torch.tensor([0.5, 1.0]), 0.0) is None
    assert find_step(torch.tensor([0.0, 1.0]), -1.0) is None
    assert find_step(torch.tensor([0.0, 1.0]), 1e-9) is None


def test_a_window_is_half_open():
    window = SigmaWindow(start=5.0, end=1.0)
    assert 5.0 in window
    assert 1.0 not in window
    assert 1.0001 in window
    assert 5.0001 not in window


def test_windows_that_share_a_border_never_act_twice():
    early, late = SigmaWindow(15.0, 3.0), SigmaWindow(3.0, 0.0)
    assert all((sigma in early) + (sigma in late) == 1 for sigma in (0.01, 2.9, 3.0, 3.1, 14.6))


def test_the_default_window_is_every_sigma_above_zero_and_start_equal_to_end_is_none():
    assert float(SIGMAS[-1]) in SigmaWindow()
    assert float(SIGMAS[0]) in SigmaWindow()
    assert 3.0 not in SigmaWindow(3.0, 3.0)


def test_long_schedules_print_short():
    assert format_sigmas(torch.tensor([2.0, 1.0, 0.0])) == "2, 1, 0 (3 values)"
    assert format_sigmas(descending(50)).endswith(", 0 (51 values)")
    assert len(format_sigmas(SIGMAS)) < 60
