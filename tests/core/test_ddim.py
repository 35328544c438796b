"""DDIM inversion and the way back (law 3), on closed-form denoisers and on the thin UNet."""

import math

import pytest
import torch
from denoisers import (
    ALPHAS,
    SIGMAS,
    assert_close,
    descending,
    gaussian,
    gaussian_denoiser,
    mixture_denoiser,
    relative,
    smooth_latent,
)

from magicstyle_core.sampling.ddim import Exact, FixedPoint, predict_noise, sample
from magicstyle_core.schedule import ascending, ve_from_vp, vp_from_ve

METHODS = [FixedPoint(), FixedPoint(1), FixedPoint(3), Exact()]


@pytest.fixture
def mixture():
    """Pictures that keep near one of six centres: a curved field, unlike that of one Gaussian."""
    return mixture_denoiser(gaussian((6, 4, 4, 4), 5), deviation=0.25)


@pytest.fixture
def portrait():
    """Latents that the mixture might have made."""
    return gaussian((6, 4, 4, 4), 5)[:3] + 0.25 * gaussian((3, 4, 4, 4), 6)


def there_and_back(method, denoise, x, steps):
    down = descending(steps)
    way = method(denoise, x, ascending(down))
    return relative(sample(denoise, way.latents[-1], down, way.residuals_down(steps)), x)


def test_one_step_is_ddims_equation_12():
    x, sigma, target = gaussian((2, 4, 3, 3), 1), SIGMAS[700], SIGMAS[400]
    denoise = gaussian_denoiser(0.8)
    z, eps = vp_from_ve(x, sigma), predict_noise(denoise, x, sigma)
    clean = (z - (1 - ALPHAS[700]).sqrt() * eps) / ALPHAS[700].sqrt()
    expected = ALPHAS[400].sqrt() * clean + (1 - ALPHAS[400]).sqrt() * eps
    down = sample(denoise, x, torch.stack([sigma, target]))
    assert_close(vp_from_ve(down, target), expected)


def test_plain_inversion_sees_the_current_latent_at_the_target_sigma():
    seen = []

    def denoise(x, sigma):
        seen.append((vp_from_ve(x, sigma[0]), float(sigma[0])))
        return gaussian_denoiser(0.8)(x, sigma)

    up = ascending(descending(3))
    way = FixedPoint()(denoise, gaussian((1, 4, 3, 3), 2), up)
    for step, (z, sigma) in enumerate(seen):
        assert sigma == float(up[step + 1])
        assert_close(z, vp_from_ve(way.latents[step], up[step]))


def test_a_step_up_adds_the_noise_seen_at_the_target():
    x, up, denoise = gaussian((1, 4, 3, 3), 3), ascending(descending(1)), gaussian_denoiser(0.8)
    eps = predict_noise(denoise, ve_from_vp(x, up[1]), up[1])
    assert_close(FixedPoint()(denoise, x, up).latents[1], x + up[1] * eps)


def test_an_iteration_sees_the_latent_that_the_step_would_reach():
    x, up, denoise = gaussian((1, 4, 3, 3), 3), ascending(descending(1)), gaussian_denoiser(0.8)
    reached = FixedPoint()(denoise, x, up).latents[1]
    expected = x + up[1] * predict_noise(denoise, reached, up[1])
    assert_close(FixedPoint(1)(denoise, x, up).latents[1], expected)


def test_refined_steps_begin_with_the_noise_of_the_steps_before():
    """Not with a plain step of their own: every evaluation refines."""
    seen = []

    def denoise(x, sigma):
        seen.append(x)
        return gaussian_denoiser(0.8)(x, sigma)

    up = ascending(descending(3))
    way = FixedPoint(1)(denoise, gaussian((1, 4, 3, 3), 2), up)
    noise = [(way.latents[i + 1] - way.latents[i]) / (up[i + 1] - up[i]) for i in range(3)]
    assert_close(seen[2], way.latents[1] + (up[2] - up[1]) * noise[0])
    angles = up.atan()
    further = (angles[3] - angles[2]) / (angles[2] - angles[1])
    assert_close(seen[4], way.latents[2] + (up[3] - up[2]) * (noise[1] + further * (noise[1] - noise[0])))


@pytest.mark.parametrize(("steps", "share"), [(5, 0.6), (20, 0.3)])  # measured 0.50, 0.25; 0.10 at 80
def test_beginning_with_earlier_noise_beats_beginning_anew_at_the_same_cost(model, steps, share):
    """Each step inverted by itself has no step before it to begin with."""

    def anew(denoise, x, up):
        for pair in up.unfold(0, 2, 1):
            x = FixedPoint(1)(denoise, x, pair).latents[-1]
        return x

    x, down = smooth_latent(8, 8, 10), descending(steps)
    separate = relative(sample(model, anew(model, x, ascending(down)), down), x)
    assert there_and_back(FixedPoint(1), model, x, steps) < share * separate


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_inversion_follows_the_closed_form_of_a_gaussians_flow(method):
    deviation, x = 0.8, gaussian((1, 4, 3, 3), 4)
    up = ascending(descending(1000))
    way = method(gaussian_denoiser(deviation), x, up)
    expected = x * (1 + (up.view(-1, 1, 1, 1, 1) / deviation) ** 2).sqrt()
    assert relative(way.latents, expected) < 5e-3  # measured 1.0e-3 to 2.3e-3


def test_plain_inversions_error_halves_when_steps_double(mixture, portrait):
    errors = [there_and_back(FixedPoint(), mixture, portrait, steps) for steps in (100, 200, 400)]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert fine / coarse == pytest.approx(0.5, abs=0.08)


def test_plain_inversions_error_falls_with_steps_on_the_unet(model):
    x = smooth_latent(8, 8, 10)
    errors = [there_and_back(FixedPoint(), model, x, steps) for steps in (2, 5, 20)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.06  # measured 0.043


def test_each_fixed_point_iteration_beats_fewer_on_the_unet(model):
    x = smooth_latent(8, 8, 10)
    plain, once, thrice = (there_and_back(FixedPoint(count), model, x, 10) for count in (0, 1, 3))
    assert once < plain / 2  # measured 0.33
    assert thrice < once / 3  # measured 0.13


def test_fixed_point_beats_plain_inversion_on_a_mixture(mixture, portrait):
    plain, once = (there_and_back(FixedPoint(count), mixture, portrait, 50) for count in (0, 1))
    assert once < plain / 4  # measured 0.13


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_exact_returns_to_rounding_on_a_mixture(mixture, portrait, steps):
    assert there_and_back(Exact(), mixture, portrait, steps) < 1e-13


@pytest.mark.parametrize(("steps", "size"), [(1, (8, 8)), (2, (9, 13)), (10, (8, 8))])
def test_exact_returns_to_rounding_on_the_unet(model, steps, size):
    assert there_and_back(Exact(), model, smooth_latent(*size, 11), steps) < 1e-13


def test_exact_returns_from_any_start_step(mixture, portrait):
    down = descending(10)
    way = Exact()(mixture, portrait, ascending(down))
    for start in range(1, 11):
        back = sample(mixture, way.latents[start], down[-start - 1 :], way.residuals_down(start))
        assert relative(back, portrait) < 1e-13


def test_exact_visits_its_own_trajectory_on_the_way_back(mixture, portrait):
    down, visited = descending(6), []
    way = Exact()(mixture, portrait, ascending(down))
    sample(
        mixture,
        way.latents[-1],
        down,
        way.residuals_down(6),
        callback=visited.append,
    )
    assert [state["i"] for state in visited] == list(range(6))
    for state in visited:
        assert_close(state["x"], way.latents[6 - state["i"]])


def test_detail_scales_the_residuals(mixture, portrait):
    down = descending(1)
    way = Exact()(mixture, portrait, ascending(down))
    without, half, full = (
        sample(mixture, way.latents[-1], down, way.residuals_down(1), detail) for detail in (0.0, 0.5, 1.0)
    )
    assert torch.equal(without, sample(mixture, way.latents[-1], down))
    assert_close(half, (without + full) / 2)
    assert relative(without, portrait) > 0.1


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [(FixedPoint(), 5), (FixedPoint(1), 10), (FixedPoint(3), 20), (Exact(), 6)],
    ids=str,
)
def test_five_steps_cost_as_many_evaluations_as_promised(method, evaluations):
    calls = []
    method(
        lambda x, sigma: (calls.append(sigma), 0.5 * x)[1],
        gaussian((2, 4, 3, 3), 1),
        ascending(descending(5)),
    )
    assert len(calls) == evaluations
    assert all(sigma.shape == (2,) for sigma in calls)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_last_evaluation_of_every_step_is_at_its_sigma(method):
    """So a recorder that keeps the last evaluation keeps the right one."""
    calls, ends = [], []
    up = ascending(descending(4))
    method(
        lambda x, sigma: (calls.append(float(sigma[0])), 0.5 * x)[1],
        gaussian((1, 4, 3, 3), 1),
        up,
        callback=lambda state: ends.append((state["i"], calls[-1])),
    )
    assert ends == [(step, float(up[step + 1])) for step in range(4)]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_callbacks_get_the_latent_and_its_denoised_estimate(mixture, portrait, method):
    states, up = [], ascending(descending(3))
    way = method(mixture, portrait, up, callback=states.append)
    for step, state in enumerate(states):
        assert state["i"] == step
        assert torch.equal(state["x"], way.latents[step + 1])
        assert state["denoised"].shape == portrait.shape
        assert float(state["sigma"]) == float(state["sigma_hat"]) == float(up[step])
    assert relative(states[0]["denoised"], portrait) < 1


def test_on_the_way_back_callbacks_are_those_of_the_hosts_samplers(mixture, portrait):
    """As k-diffusion has them; a way that leaves out steps goes on counting where it begins."""
    states, down = [], descending(3)
    sample(mixture, portrait, down, callback=states.append, first=4)
    assert [state["i"] for state in states] == [4, 5, 6]
    for step, state in enumerate(states):
        assert set(state) == {"i", "x", "sigma", "sigma_hat", "denoised"}
        assert float(state["sigma"]) == float(state["sigma_hat"]) == float(down[step])
        assert_close(state["denoised"], mixture(state["x"], down[step].expand(3)), 1e-10)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_trajectory_begins_at_the_latent_and_names_its_method(mixture, portrait, method):
    way = method(mixture, portrait, ascending(descending(2)))
    assert torch.equal(way.latents[0], portrait)
    assert way.latents.shape == (3, *portrait.shape)
    assert way.method == str(method)
    assert (way.noise is None) == (method != Exact())


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_images_of_a_batch_are_inverted_independently(model, method):
    x, up = smooth_latent(8, 8, 12, batch=3), ascending(descending(2))
    together = method(model, x, up)
    alone = method(model, x[1:2], up)
    assert_close(together.latents[:, 1:2], alone.latents, 1e-11)


def test_names_tell_the_methods_apart():
    assert [str(method) for method in METHODS] == ["ddim", "fixed_point(1)", "fixed_point(3)", "exact"]


def test_a_negative_number_of_iterations_is_refused():
    with pytest.raises(ValueError, match="0 or more; got -1"):
        FixedPoint(-1)


def test_a_denoiser_of_prediction_type_v_takes_the_same_steps(mixture, portrait):
    """The denoiser form hides the prediction type: v and eps models of one field agree."""

    def through_v(x, sigma):
        scale = math.sqrt(1 + float(sigma[0]) ** 2)
        z, eps = x / scale, (x - mixture(x, sigma)) / sigma[0]
        v = (eps - float(sigma[0]) * mixture(x, sigma)) / scale
        return z / scale - float(sigma[0]) / scale * v

    down = descending(4)
    one, other = (Exact()(denoise, portrait, ascending(down)) for denoise in (mixture, through_v))
    assert_close(one.latents, other.latents, 1e-10)
