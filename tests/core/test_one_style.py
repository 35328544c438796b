"""A batch of portraits reads one style: the same memory for every row, whatever the number of portraits."""

import pytest
import torch
from banks import record
from denoisers import capture, fusion, smooth_latent

from magicstyle_core.bank.serialization import load_bank, save_bank
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.layers import LayerKey
from magicstyle_core.sampling.ddim import Exact, sample

KEY = LayerKey("output", 3, 1)
PORTRAITS = 4


class Spy:
    """Keeps the keys that reach the projection of one layer."""

    def __init__(self):
        self.seen = []

    def __call__(self, inputs, call):
        if call.key == KEY:
            self.seen.append((len(inputs.query), inputs.key, inputs.value))
        return inputs


@pytest.fixture(scope="module")
def portraits(model, sigmas):
    return capture(model, smooth_latent(8, 8, seed=30, batch=PORTRAITS), sigmas)[0]


def sampled(model, portraits, style, queries="stored"):
    spy, way = Spy(), portraits.trajectory
    patch = fusion(model, FeatureFusion(queries=queries), portraits, style)
    result = sample(model.patched(patch, spy), way.latents[-1], way.sigmas.flip(0))
    return result, spy.seen


@pytest.mark.parametrize("queries", ["stored", "live", "matched"])
def test_all_rows_read_the_memory_of_the_bank(guided, portraits, style, queries):
    _, seen = sampled(guided, portraits, style, queries)
    steps = range(portraits.trajectory.steps, 0, -1)
    for step, (rows, key, value) in zip(steps, seen, strict=True):
        assert rows == 2 * PORTRAITS  # two conditionings
        assert key.shape[0] == rows
        assert key.stride(0) == 0
        kept = style.store.at(step)[KEY].values
        assert key.data_ptr() == value.data_ptr() == kept.data_ptr()


def test_a_style_from_a_file_takes_the_memory_of_one_picture(guided, portraits, model, tmp_path):
    """In another number type one row is made, not one for each portrait."""
    path = tmp_path / "style.safetensors"
    save_bank(record(model, "cpu", torch.float16, tmp_path, size=(8, 8), batch=1), path)
    _, seen = sampled(guided, portraits, load_bank(path))
    for _, key, _ in seen:
        assert key.stride(0) == 0
        assert key.untyped_storage().nbytes() == key[0].numel() * key.element_size()


def test_portraits_of_a_batch_get_what_each_gets_alone(model, portraits, tmp_path):
    path = tmp_path / "style.safetensors"
    save_bank(record(model, "cpu", torch.float16, tmp_path, size=(8, 8), batch=1, method=Exact()), path)
    together, _ = sampled(model, portraits, load_bank(path))
    sigmas = portraits.trajectory.sigmas.flip(0)
    for index in range(PORTRAITS):
        one = capture(model, portraits.trajectory.latents[0][index : index + 1], sigmas)[0]
        alone, _ = sampled(model, one, load_bank(path))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-9, atol=1e-9)
