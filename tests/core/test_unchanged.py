"""What must change nothing changes nothing, bit for bit (law 1), and nothing is left behind."""

import pytest
import torch
from denoisers import SIGMAS, fusion, select, smooth_latent

from magicstyle_core.fusion.attention import FusionPatch
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.rules import StandardAttention
from magicstyle_core.sampling.ddim import sample
from magicstyle_core.schedule import SigmaWindow

FFA = FeatureFusion()
INACTIVE = {
    "strength 0": {"strength": 0},
    "strength 0.0": {"strength": 0.0},
    "empty window": {"window": SigmaWindow(3.0, 3.0)},
    "window above": {"window": SigmaWindow(100.0, float(SIGMAS[-1]))},
    "window below": {"window": SigmaWindow(0.01, 0.0)},
    "reversed window": {"window": SigmaWindow(0.0, 10.0)},
}


def run(model, content, sigmas):
    return sample(model, content.trajectory.latents[-1], sigmas)


@pytest.fixture
def patched(model, content, style):
    def patch(layers="all", rule=FFA, **options):
        return model.patched(fusion(model, rule, content, style, layers, **options))

    return patch


@pytest.mark.parametrize("options", INACTIVE.values(), ids=INACTIVE)
def test_an_inactive_patch_is_the_unpatched_model(model, patched, content, sigmas, options):
    assert torch.equal(run(patched(**options), content, sigmas), run(model, content, sigmas))


def test_no_layers_is_the_unpatched_model(model, patched, content, sigmas):
    assert torch.equal(run(patched(layers="none"), content, sigmas), run(model, content, sigmas))


def test_the_ablation_rule_is_the_unpatched_model(model, patched, content, sigmas):
    assert torch.equal(run(patched(rule=StandardAttention()), content, sigmas), run(model, content, sigmas))


def test_an_active_patch_is_not(model, patched, content, sigmas):
    assert not torch.equal(run(patched(), content, sigmas), run(model, content, sigmas))
    assert not torch.equal(run(patched(strength=0.01), content, sigmas), run(model, content, sigmas))


def test_inactive_patches_never_touch_their_banks(model, content, sigmas):
    for options in INACTIVE.values():
        patch = FusionPatch(FFA, {"content": None, "style": None}, select(model), **options)
        run(model.patched(patch), content, sigmas)


def test_only_the_window_is_changed(model, patched, content, sigmas):
    """Half open: the step at the window's start is changed, the one at its end is not."""
    x, window = content.trajectory.latents[-1], SigmaWindow(float(sigmas[1]), float(sigmas[2]))
    for sigma in sigmas[:-1]:
        same = torch.equal(patched(window=window)(x, sigma[None]), model(x, sigma[None]))
        assert same == (sigma != sigmas[1])


@pytest.mark.parametrize("layer", ["input.1", "middle", "output.3.0", "output.3.1"])
def test_only_the_selected_layer_is_changed(model, patched, content, style, sigmas, layer):
    """Layers that run before it receive what they received before."""
    from formulas import look

    x = content.trajectory.latents[-1] + smooth_latent(8, 8, seed=3)
    plain, changed = look(model, x, sigmas[:1]), look(patched(layers=layer), x, sigmas[:1])
    (chosen,) = [entry.key for entry in select(model, layer)]
    for key in list(plain)[: list(plain).index(chosen)]:
        assert torch.equal(changed[key].output, plain[key].output)
    assert torch.equal(changed[chosen].live, plain[chosen].live)
    assert not torch.equal(changed[chosen].output, plain[chosen].output)


def test_two_windows_that_share_a_border_equal_one(patched, content, style, model, sigmas):
    border = float(sigmas[2])
    early = fusion(model, FFA, content, style, window=SigmaWindow(end=border))
    late = fusion(model, FFA, content, style, window=SigmaWindow(start=border))
    assert torch.equal(run(model.patched(early, late), content, sigmas), run(patched(), content, sigmas))


def test_nothing_is_left_behind(model, patched, content, style, sigmas):
    before = run(model, content, sigmas)
    keys = [layer.key for layer in select(model)]
    stored = [bank.store.at(step)[key].values for bank in (content, style) for step in range(1, 5) for key in keys]
    kept = [values.clone() for values in stored]
    fused = patched(strength=0.5)
    first, second = run(fused, content, sigmas), run(fused, content, sigmas)
    assert torch.equal(first, second)
    assert torch.equal(run(model, content, sigmas), before)
    for values, was in zip(stored, kept, strict=True):
        assert torch.equal(values, was)


def test_an_error_in_the_middle_of_a_run_leaves_nothing_behind(model, patched, content, sigmas):
    def fail(live, call):
        if call.key[:2] == ("output", 2):
            raise RuntimeError("cancelled")
        return live

    fused = patched(strength=0.5)
    before = run(fused, content, sigmas)
    with pytest.raises(RuntimeError, match="cancelled"):
        run(fused.patched(fail), content, sigmas)
    assert torch.equal(run(fused, content, sigmas), before)
