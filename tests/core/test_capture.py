"""Capture: what the bank holds is what self-attention received, however the batch was put together."""

import pytest
import torch
from denoisers import assert_close, capture, descending, feature, select, smooth_latent

from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.fusion.attention import CapturePatch, LendingPatch
from magicstyle_core.sampling.ddim import Exact, FixedPoint, sample
from magicstyle_core.schedule import ascending

METHODS = [FixedPoint(), FixedPoint(2), Exact()]


class Spy:
    """Notes every input of self-attention in the order in which it comes."""

    def __init__(self):
        self.seen = []

    def __call__(self, live, call):
        self.seen.append((call.forward.sigma, call.key, live.query.clone()))
        return live


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_features_are_the_last_inputs_of_every_layer_at_every_step(model, sigmas, method):
    spy = Spy()
    (bank,) = capture(model.patched(spy), smooth_latent(8, 8, 1), sigmas, method)
    last = {(sigma, key): n for sigma, key, n in spy.seen}
    for (sigma, key), n in last.items():
        assert torch.equal(feature(bank, bank.step_at(sigma), key, like=n).hidden, n)
    assert len(last) == 4 * 7


def test_exact_features_are_those_of_the_trajectorys_own_latents(model, content):
    way, spy = content.trajectory, Spy()
    for step in range(1, 5):
        model.patched(spy)(way.latents[step], way.sigmas[step : step + 1])
    for sigma, key, n in spy.seen:
        assert torch.equal(feature(content, content.step_at(sigma), key, like=n).hidden, n)


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
                one, other = (feature(b, step, layer.key, like=x) for b in (bank, alone))
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
        feature(bank, 1, ("input", 1, 0), like=sigmas)


def test_no_layers_still_keep_the_trajectory(model, sigmas):
    (bank,) = capture(model, smooth_latent(8, 8, 1), sigmas, layers="none")
    assert bank.precision == "-"
    way = bank.trajectory
    back = sample(model, way.latents[-1], sigmas, way.residuals_down(4))
    assert_close(back, way.latents[0])


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_grids_are_those_that_the_layers_announce(model, size):
    (bank,) = capture(model, smooth_latent(*size, 1), descending(1))
    for layer in select(model):
        kept = feature(bank, 1, layer.key, like=bank.trajectory.latents)
        assert kept.grid == layer.grid(*size)
        assert kept.hidden.shape == (1, kept.grid[0] * kept.grid[1], layer.channels)


def test_more_rows_than_images_are_refused(guided, sigmas):
    with pytest.raises(ValueError, match=r"expected 1 rows and got 2.*remove it while inverting"):
        capture(guided, smooth_latent(8, 8, 1), sigmas)


def test_a_lending_patch_leaves_what_it_saw_and_changes_nothing(model, content):
    """For features that are used within the same step: the tensors themselves, no copies."""
    way, features, spy = content.trajectory, {}, Spy()
    lending = LendingPatch(select(model, "output"), features)
    state = way.latents[2], way.sigmas[2:3]
    assert torch.equal(model.patched(lending, spy)(*state), model(*state))
    assert set(features) == {layer.key for layer in select(model, "output")}
    for key, packed in features.items():
        kept = feature(content, 2, key, like=way.latents)
        assert packed.grid == kept.grid
        assert torch.equal(packed.unpack(way.latents).hidden, kept.hidden)
