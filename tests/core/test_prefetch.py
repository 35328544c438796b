"""Features travel one step ahead, two steps of a bank are on the device at the most, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from denoisers import capture, descending, fusion, smooth_latent

from magicstyle_core.bank.bank import Kept
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.prefetch import Prefetcher
from magicstyle_core.sampling.ddim import sample
from magicstyle_core.schedule import SigmaWindow


class CountingTransfer:
    """Moves nothing, but notes what was asked of it and how much is out at once."""

    def __init__(self):
        self.log = []

    def start(self, features):
        self.log.append("start")
        return dict(features)

    def finish(self, started):
        self.log.append("finish")
        return started


@pytest.fixture(scope="module")
def banks(model):
    return [capture(model, smooth_latent(8, 8, seed), descending(6))[0] for seed in (1, 2)]


def patch_of(model, banks, **options):
    return fusion(model, FeatureFusion(), *banks, **options)


def down(bank):
    return [float(sigma) for sigma in bank.trajectory.sigmas[1:].flip(0)]


def test_the_next_step_is_on_its_way_before_this_one_runs(model, banks):
    transfer = CountingTransfer()
    prefetcher = Prefetcher([patch_of(model, banks)], down(banks[0]), transfer)
    expected = []
    for number, sigma in enumerate(down(banks[0])):
        fetched = prefetcher.at(sigma)
        keys = {layer.key for layer in banks[0].layers}
        assert {kept: set(features) for kept, features in fetched.items()} == {
            Kept(bank, bank.step_at(sigma)): keys for bank in banks
        }
        for kept, features in fetched.items():
            for key, feature in features.items():
                assert torch.equal(feature.values, kept.bank.store.at(kept.step)[key].values)
        first = ["start", "finish"] * 2 if number == 0 else ["finish"] * 2
        expected += first + (["start"] * 2 if number < 5 else [])
        assert transfer.log == expected


def test_two_steps_of_a_bank_are_out_at_the_most(model, banks):
    prefetcher = Prefetcher([patch_of(model, banks)], down(banks[0]), CountingTransfer())
    for sigma in down(banks[0]):
        prefetcher.at(sigma)
        out = {*prefetcher._here, *prefetcher._started}
        assert max(sum(kept.bank is bank for kept in out) for bank in banks) <= 2
    prefetcher.drop()
    assert not prefetcher._here
    assert not prefetcher._started


def test_a_step_that_is_read_again_is_not_moved_again(model):
    """Several evaluations at one sigma (guidance in two calls), and steps that share kept features."""
    banks = [capture(model, smooth_latent(8, 8, seed), descending(6), every=3)[0] for seed in (1, 2)]
    transfer = CountingTransfer()
    prefetcher = Prefetcher([patch_of(model, banks)], down(banks[0]), transfer)
    for sigma in down(banks[0]):
        prefetcher.at(sigma)
        prefetcher.at(sigma)
    assert transfer.log.count("start") == 2 * 2  # two kept steps of two banks


def test_only_what_will_be_read_is_moved(model, banks):
    sigmas = down(banks[0])
    window = SigmaWindow(start=sigmas[1], end=sigmas[3])
    transfer = CountingTransfer()
    prefetcher = Prefetcher([patch_of(model, banks, window=window)], sigmas, transfer)
    for sigma in sigmas:
        assert bool(prefetcher.at(sigma)) == (sigma in window)
    assert transfer.log.count("start") == 2 * 2
    silent = CountingTransfer()
    for sigma in sigmas:
        Prefetcher([patch_of(model, banks, strength=0.0)], sigmas, silent).at(sigma)
    assert silent.log == []


def test_fetched_features_give_the_same_picture(model, banks):
    patch = patch_of(model, banks)
    way = banks[0].trajectory
    plain = sample(model.patched(patch), way.latents[-1], descending(6), way.residuals_down(6))
    prefetcher = Prefetcher([patch], down(banks[0]), CountingTransfer())
    beside = replace(model.patched(patch), fetch=prefetcher.at)
    fetched = sample(beside, way.latents[-1], descending(6), way.residuals_down(6))
    assert torch.equal(fetched, plain)
