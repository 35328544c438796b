"""Trajectories, recorders and feature banks."""

import math

import pytest
import torch
from denoisers import FINGERPRINT, assert_close, capture, descending, feature, gaussian, select, smooth_latent

from magicstyle_core.bank.bank import FeatureBank, ModelFingerprint
from magicstyle_core.bank.features import PRECISIONS, Feature
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.bank.trajectory import Trajectory
from magicstyle_core.layers import AttentionLayer, LayerKey, LayerSelection
from magicstyle_core.sampling.ddim import FixedPoint
from magicstyle_core.schedule import ascending

KEY = LayerKey("output", 1, 0)
LAYERS = LayerSelection((AttentionLayer(KEY, 6, 2),))
UP = ascending(descending(2)).float()


def trajectory(batch=1, size=(8, 8)):
    latents, noise = gaussian((3, batch, 4, *size), 3).float(), gaussian((batch, 4, *size), 2).float()
    return Trajectory(UP, latents, noise)


def recorded(groups=(1,), dtype=torch.float32):
    """A recorder that has seen both steps, and what it was shown."""
    recorder = FeatureRecorder(CapturePlan(LAYERS, UP, dtype), groups)
    shown = {step: gaussian((sum(groups), 16, 6), 10 + step).float() for step in (1, 2)}
    for step, hidden in shown.items():
        recorder.put(float(UP[step]), KEY, Feature(hidden, (4, 4)))
    return recorder, shown


def publish(recorder):
    return recorder.publish(trajectory(sum(recorder.groups)), FINGERPRINT)


def test_a_bank_returns_what_the_recorder_was_shown():
    recorder, shown = recorded()
    (bank,) = publish(recorder)
    for step, hidden in shown.items():
        kept = feature(bank, step, KEY, like=hidden)
        assert torch.equal(kept.hidden, hidden)
        assert kept.grid == (4, 4)


def test_groups_become_banks_in_the_order_of_the_batch():
    recorder, shown = recorded(groups=(2, 1))
    way = trajectory(3)
    first, second = recorder.publish(way, FINGERPRINT)
    assert (first.trajectory.batch, second.trajectory.batch) == (2, 1)
    assert torch.equal(feature(first, 1, KEY, like=shown[1]).hidden, shown[1][:2])
    assert torch.equal(feature(second, 2, KEY, like=shown[2]).hidden, shown[2][2:])
    assert torch.equal(second.trajectory.latents, way.latents[:, 2:])
    assert torch.equal(second.trajectory.noise, way.noise[2:])


def test_a_bank_does_not_follow_the_networks_tensors():
    """The network reuses the memory of what it showed, also where type and device already agree."""
    recorder, shown = recorded()
    kept = shown[1].clone()
    shown[1].zero_()
    (bank,) = publish(recorder)
    assert torch.equal(feature(bank, 1, KEY, like=kept).hidden, kept)


def test_groups_do_not_keep_each_others_images_alive():
    recorder, shown = recorded(groups=(1, 1))
    way = trajectory(2)
    for bank in recorder.publish(way, FINGERPRINT):
        hidden = feature(bank, 1, KEY, like=shown[1]).hidden
        assert hidden.untyped_storage().nbytes() == hidden.numel() * hidden.element_size()
        latents = bank.trajectory.latents
        assert latents.untyped_storage().nbytes() == latents.numel() * latents.element_size()


def test_a_bank_is_not_changed_by_a_recorder_that_goes_on():
    recorder, shown = recorded()
    (bank,) = publish(recorder)
    recorder.put(float(UP[1]), KEY, Feature(torch.zeros(1, 16, 6), (4, 4)))
    assert torch.equal(feature(bank, 1, KEY, like=shown[1]).hidden, shown[1])


def test_a_bank_offers_no_way_to_change_it():
    (bank,) = publish(recorded()[0])
    public = {name for name in dir(FeatureBank) if not name.startswith("_")}
    assert public == {"step_at", "kept_at", "recomputed", "bytes", "precision"}
    with pytest.raises(TypeError):
        bank.kept_for[1] = 2
    with pytest.raises(AttributeError):
        bank.store.at(1)[KEY].values = None
    with pytest.raises(AttributeError):
        bank.trajectory.sigmas = UP


def test_a_step_that_is_evaluated_again_keeps_the_last_evaluation():
    recorder, shown = recorded()
    again = gaussian((1, 16, 6), 99).float()
    recorder.put(float(UP[1]), KEY, Feature(again, (4, 4)))
    assert torch.equal(feature(publish(recorder)[0], 1, KEY, like=again).hidden, again)


def test_features_are_found_at_sigmas_that_travelled_through_lower_precision():
    recorder = FeatureRecorder(CapturePlan(LAYERS, UP, torch.float32), (1,))
    for step in (1, 2):
        recorder.put(float(UP[step].half()), KEY, Feature(torch.full((1, 16, 6), float(step)), (4, 4)))
    (bank,) = publish(recorder)
    assert [bank.step_at(float(sigma.half())) for sigma in UP[1:]] == [1, 2]
    assert feature(bank, 2, KEY, like=UP).hidden[0, 0, 0] == 2


@pytest.mark.parametrize("sigma", [0.0, 1.0, float(UP[2]) * 1.002])
def test_a_sigma_that_is_not_on_the_schedule_is_refused(sigma):
    recorder, shown = recorded()
    with pytest.raises(ValueError, match="not on the inversion schedule"):
        recorder.put(sigma, KEY, Feature(shown[1], (4, 4)))


@pytest.mark.parametrize(
    ("sigma", "nearest"),
    [
        (1e-6, 1),
        (float(UP[1]), 1),
        (float(UP[1]) ** 0.75 * float(UP[2]) ** 0.25, 1),
        (float(UP[1]) ** 0.51 * float(UP[2]) ** 0.49, 1),
        (float(UP[1]) ** 0.49 * float(UP[2]) ** 0.51, 2),
        (float(UP[1]) ** 0.25 * float(UP[2]) ** 0.75, 2),
        (1e6, 2),
    ],
)
def test_between_two_steps_the_nearest_by_its_logarithm_is_read(sigma, nearest):
    (bank,) = publish(recorded()[0])
    assert bank.step_at(sigma) == bank.kept_at(sigma) == nearest


def test_a_trajectory_is_straight_between_two_steps():
    (bank,) = publish(recorded()[0])
    way = bank.trajectory
    for step, sigma in enumerate(way.sigmas.tolist()):
        assert torch.allclose(way.at(sigma), way.latents[step])
    middle = float(way.sigmas[1:].mean())
    assert torch.allclose(way.at(middle), way.latents[1:].mean(0), atol=1e-5)
    assert torch.equal(way.at(1e6), way.latents[-1])


def test_a_layer_that_was_never_seen_is_named():
    recorder = FeatureRecorder(CapturePlan(LAYERS, UP, torch.float32), (1,))
    recorder.put(float(UP[1]), KEY, Feature(gaussian((1, 16, 6), 1), (4, 4)))
    with pytest.raises(ValueError, match=r"Layer output\.1\.0 was not seen at step 2"):
        publish(recorder)


@pytest.mark.parametrize("name", PRECISIONS)
def test_features_are_stored_in_the_type_that_was_asked_for(name):
    recorder, shown = recorded(dtype=PRECISIONS[name])
    (bank,) = publish(recorder)
    assert bank.precision == name
    hidden = feature(bank, 1, KEY, like=shown[1]).hidden
    assert hidden.dtype == torch.float32
    assert_close(hidden, shown[1], {"fp32": 0, "fp16": 1e-3, "int8": 1e-2}[name])
    assert torch.equal(hidden, shown[1]) == (name == "fp32")


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_the_estimate_is_what_the_features_take(model, name, size):
    sigmas, dtype = descending(2), PRECISIONS[name]
    banks = capture(model, smooth_latent(*size, 1, batch=3), sigmas, FixedPoint(), (2, 1), dtype=dtype)
    for bank, batch in zip(banks, (2, 1), strict=True):
        latents = bank.trajectory.latents
        expected = CapturePlan(select(model), ascending(sigmas), dtype).bytes(batch, size)
        assert bank.bytes == expected + latents.numel() * latents.element_size()


def test_noise_counts_as_memory():
    way = trajectory()
    with_noise = FeatureBank(way, FINGERPRINT)
    without = FeatureBank(Trajectory(way.sigmas, way.latents), FINGERPRINT)
    assert with_noise.bytes - without.bytes == way.noise.numel() * 4


def test_a_bank_prints_in_one_line():
    (bank,) = publish(recorded(dtype=torch.float16)[0])
    assert repr(bank) == "FeatureBank(1 x 8x8, 2 steps, ddim, output.1 (1 layers), fp16, 0.0 MB, cpu)"
    assert "none (0 layers), -" in repr(FeatureBank(trajectory(), FINGERPRINT))


def test_a_fingerprint_prints_what_must_agree():
    text = str(ModelFingerprint("SD15", "EPS", 320, 768, 16))
    assert text == "SD15 (EPS, width 320, context 768, 16 self-attentions)"


@pytest.mark.parametrize("start", [1, 2, 4])
def test_a_schedule_that_is_the_banks_own_starts_where_it_says(content, start):
    sigmas = content.trajectory.sigmas[: start + 1].flip(0)
    assert content.trajectory.start_of(sigmas) == start
    assert content.trajectory.start_of(sigmas * (1 + 1e-4)) == start


def test_a_schedule_in_another_precision_is_still_the_banks_own(content):
    assert content.trajectory.start_of(content.trajectory.sigmas.flip(0).float()) == 4
    assert trajectory().start_of(UP.flip(0).double()) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda sigmas: sigmas[:-1],
        lambda sigmas: sigmas[-1:],
        lambda sigmas: sigmas * 1.01,
        lambda sigmas: sigmas.flip(0),
        lambda sigmas: torch.cat([sigmas[:2], sigmas[3:]]),
        lambda sigmas: sigmas + sigmas.new_tensor([0.0, 0.1, 0.0, 0.0, 0.0]),
        lambda sigmas: sigmas * math.nan,
        lambda sigmas: descending(5),
    ],
    ids=["stops early", "only zero", "scaled", "ascending", "gap", "one moved", "nan", "other steps"],
)
def test_another_schedule_is_refused_with_both_schedules(content, change):
    with pytest.raises(ValueError, match=r"style bank .*another schedule.*Bank: 14.*: .*Bank Schedule"):
        content.trajectory.start_of(change(content.trajectory.sigmas.flip(0)), "style")


def test_residuals_come_in_the_order_of_the_way_back():
    way = trajectory()
    (clean, middle, last), (zero, low, high) = way.latents, way.sigmas
    at_middle = (last - middle) / (high - low)
    missed = [middle - (last + (low - high) * way.noise), clean - (middle + (zero - low) * at_middle)]
    assert_close(way.residuals_down(2), torch.stack(missed), 1e-6)
    assert torch.equal(way.residuals_down(1), way.residuals_down(2)[1:])
    assert Trajectory(way.sigmas, way.latents).residuals_down(2) is None


def test_resampling_tokens_is_bilinear_on_the_grid():
    """A ramp stays a ramp: hidden states that rise along one side rise along that side of the new grid."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="ij")
    feature = Feature(torch.stack([rows, columns], -1).view(1, 24, 2), (6, 4))
    assert feature.on((6, 4)) is feature.hidden
    larger = feature.on((12, 8)).view(12, 8, 2)
    # Inside, cell centres at half steps; rows do not mix with columns.
    assert_close(larger[1:-1, 1:-1, 0], ((torch.arange(1, 11) - 0.5) / 2)[:, None].expand(10, 6), 1e-6)
    assert_close(larger[1:-1, 1:-1, 1], ((torch.arange(1, 7) - 0.5) / 2).expand(10, 6), 1e-6)


def test_resampling_keeps_type_and_images_apart():
    feature = Feature(torch.stack([torch.zeros(24, 2), torch.ones(24, 2)]).half(), (6, 4))
    smaller = feature.on((3, 3))
    assert (smaller.dtype, smaller.shape) == (torch.float16, (2, 9, 2))
    assert smaller[0].unique().tolist() == [0]
    assert smaller[1].unique().tolist() == [1]


def test_a_bank_of_an_unnamed_precision_prints_too(content):
    assert ", float64," in repr(content)
