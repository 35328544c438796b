"""Capture: what the bank holds is what self-attention received, however the batch was put together."""

import pytest
import torch
from denoisers import Conditioning, UNetDenoiser, assert_close, capture, descending, select, smooth_latent

from magicstyle_core.fusion.attention import CapturePatch
from magicstyle_core.sampling.ddim import Exact, FixedPoint, sample
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.schedule import ascending

METHODS = [FixedPoint(), FixedPoint(2), Exact()]


class Spy:
    """Notes every input of self-attention in the order in which it comes."""

    def __init__(self):
        self.seen = []

    def __call__(self, n, context, value, extra_options):
        key = (*extra_options["block"], extra_options["block_index"])
        self.seen.append((float(extra_options["sigmas"][0]), key, n.clone()))
        return n, context, value


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_features_are_the_last_inputs_of_every_layer_at_every_step(model, sigmas, method):
    spy = Spy()
    (bank,) = capture(model.patched(spy), smooth_latent(8, 8, 1), sigmas, method)
    last = {(sigma, key): n for sigma, key, n in spy.seen}
    for (sigma, key), n in last.items():
        assert torch.equal(bank.get(bank.step_at(sigma), key, like=n).hidden, n)
    assert len(last) == 4 * 7


def test_exact_features_are_those_of_the_trajectorys_own_latents(model, content):
    way, spy = content.trajectory, Spy()
    for step in range(1, 5):
        model.patched(spy)(way.latents[step], way.sigmas[step : step + 1])
    for sigma, key, n in spy.seen:
        assert torch.equal(content.get(content.step_at(sigma), key, like=n).hidden, n)


def test_capture_changes_nothing(model, sigmas):
    x = smooth_latent(8, 8, 2)
    recorder = FeatureRecorder(CapturePlan(select(model), ascending(sigmas)), (1,))
    plain, captured = (m(x, sigmas[:1]) for m in (model, model.patched(CapturePatch(recorder))))
    assert torch.equal(plain, captured)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_content_and_style_in_one_batch_equal_the_two_apart(model, sigmas, method):
    x = torch.cat([smooth_latent(8, 8, 1, batch=2), smooth_latent(8, 8, 5)])
    together = capture(model, x, sigmas, method, groups=(2, 1))
    for bank, part in zip(together, (x[:2], x[2:]), strict=True):
        (alone,) = capture(model, part, sigmas, method)
        assert_close(bank.trajectory.latents, alone.trajectory.latents, 1e-11)
        for step in range(1, 5):
            for layer in select(model):
                one, other = (b.get(step, layer.key, like=x) for b in (bank, alone))
                assert one.grid == other.grid
                assert_close(one.hidden, other.hidden, 1e-10)


def test_only_selected_layers_are_kept(model, sigmas):
    (bank,) = capture(model, smooth_latent(8, 8, 1), sigmas, layers="high-res decoder")
    assert [str(layer.key) for layer in bank.layers] == [
        "output.1.0",
        "output.2.0",
        "output.3.0",
        "output.3.1",
    ]
    with pytest.raises(KeyError):
        bank.get(1, ("input", 1, 0), like=sigmas)


def test_no_layers_still_keep_the_trajectory(model, sigmas):
    (bank,) = capture(model, smooth_latent(8, 8, 1), sigmas, layers="none")
    assert bank.precision == "-"
    way = bank.trajectory
    back = sample(model, way.latents[-1], sigmas, way.residuals_down(4))
    assert_close(back, way.latents[0])


@pytest.mark.parametrize("announced", [True, False])
def test_the_sigma_comes_from_the_call_or_from_the_hosts_options(unet, sigmas, announced):
    model = UNetDenoiser(unet, (Conditioning.random("positive", 1),), announced=announced)
    assert repr(capture(model, smooth_latent(8, 8, 1), sigmas, dtype=torch.float32)[0]).startswith(
        "FeatureBank("
    )


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_grids_are_those_that_the_layers_announce(model, size):
    (bank,) = capture(model, smooth_latent(*size, 1), descending(1))
    for layer in select(model):
        feature = bank.get(1, layer.key, like=bank.trajectory.latents)
        assert feature.grid == layer.grid(*size)
        assert feature.hidden.shape == (1, feature.grid[0] * feature.grid[1], layer.channels)


def test_more_rows_than_images_are_refused(guided, sigmas):
    with pytest.raises(ValueError, match=r"expected 1 rows and got 2.*one conditioning"):
        capture(guided, smooth_latent(8, 8, 1), sigmas)


def test_merged_tokens_are_refused(model, sigmas):
    def merge(n, context, value, extra_options):
        return n[:, ::2], context, value

    with pytest.raises(ValueError, match=r"input\.1\.0 has 32 tokens instead of 8x8.*ToMe"):
        capture(model.patched(merge), smooth_latent(8, 8, 1), sigmas)
