"""Diffusers' DDIM schedulers as an oracle: their variance-preserving steps against ours."""

import pytest
import torch
from denoisers import ALPHAS, SIGMAS, assert_close, gaussian, mixture_denoiser

from magicstyle_core.sampling.ddim import FixedPoint, predict_noise, sample
from magicstyle_core.schedule import ascending, ve_from_vp, vp_from_ve

pytest.importorskip("diffusers")
STEPS = 20


def scheduler(name):
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler

    kind = {"down": DDIMScheduler, "up": DDIMInverseScheduler}[name]
    scheduler = kind(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,  # a way that ends at sigma 0, as the host's
        timestep_spacing="leading",
        steps_offset=1,
    )
    assert_close(scheduler.alphas_cumprod.double(), ALPHAS, 1e-6)
    scheduler.alphas_cumprod = ALPHAS  # the same numbers in double precision
    scheduler.set_timesteps(STEPS)
    return scheduler


@pytest.fixture(scope="module")
def down():
    return scheduler("down")


@pytest.fixture(scope="module")
def up():
    return scheduler("up")


@pytest.fixture
def denoise():
    return mixture_denoiser(gaussian((5, 4, 3, 3), 1), deviation=0.3)


@pytest.fixture
def clean():
    return gaussian((5, 4, 3, 3), 1)[:2] + 0.3 * gaussian((2, 4, 3, 3), 2)


def sigmas(down):
    return torch.cat([SIGMAS[down.timesteps], SIGMAS.new_zeros(1)])


def noise_of(denoise, z, timestep):
    """The eps model of the papers' form."""
    return predict_noise(denoise, ve_from_vp(z, SIGMAS[timestep]), SIGMAS[timestep])


def test_timesteps_are_the_ones_that_papers_use(down, up):
    assert down.timesteps.tolist() == list(range(951, 0, -50))
    assert up.timesteps.tolist() == list(range(1, 1000, 50))


@pytest.mark.parametrize("step", [0, 7, STEPS - 1])
def test_one_step_down(down, denoise, clean, step):
    ours, timestep = sigmas(down), int(down.timesteps[step])
    z = vp_from_ve(clean + ours[step] * gaussian(clean.shape, 3), ours[step])
    theirs = down.step(noise_of(denoise, z, timestep), timestep, z).prev_sample
    back = sample(denoise, ve_from_vp(z, ours[step]), ours[step : step + 2])
    assert_close(vp_from_ve(back, ours[step + 1]), theirs, 1e-9)


@pytest.mark.parametrize("step", [0, 7, STEPS - 1])
def test_one_step_up_from_the_clean_latent_or_between(down, up, denoise, clean, step):
    ours, timestep = ascending(sigmas(down)), int(up.timesteps[step])
    z = vp_from_ve(clean + ours[step] * gaussian(clean.shape, 4), ours[step])
    theirs = up.step(noise_of(denoise, z, timestep), timestep, z).prev_sample
    # A step that begins above sigma 0 is the second step of a schedule of two: only its latent matters.
    way = FixedPoint()(denoise, ve_from_vp(z, ours[step]), ours[step : step + 2])
    assert_close(vp_from_ve(way.latents[1], ours[step + 1]), theirs, 1e-9)


def test_the_whole_way_up_and_down(down, up, denoise, clean):
    ours, z = sigmas(down), clean
    way = FixedPoint()(denoise, clean, ascending(ours))
    for step, timestep in enumerate(up.timesteps.tolist(), 1):
        z = up.step(noise_of(denoise, z, timestep), timestep, z).prev_sample
        assert_close(vp_from_ve(way.latents[step], way.sigmas[step]), z, 1e-9)
    for timestep in down.timesteps.tolist():
        z = down.step(noise_of(denoise, z, timestep), timestep, z).prev_sample
    assert_close(sample(denoise, way.latents[-1], ours), z, 1e-9)
