"""Feature Fusion Forward: the way back with residuals, colours and pieces, as one sampler."""

from dataclasses import replace

import pytest
import torch
from denoisers import (
    Conditioning,
    UNetDenoiser,
    assert_close,
    capture,
    descending,
    fusion,
    relative,
    smooth_latent,
)
from unet import ThinUNet

from magicstyle_core.bank.trajectory import Trajectory
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.sampling.color import adain, transport
from magicstyle_core.sampling.ddim import FixedPoint, sample
from magicstyle_core.sampling.fff import FeatureFusionForward, Look, StyleStrength
from magicstyle_core.sampling.texture import TextureSwap
from magicstyle_core.schedule import ascending

STEPS = 8
BARE = Look("none", texture=0.0)


@pytest.fixture(scope="module")
def down():
    return descending(STEPS)


@pytest.fixture(scope="module")
def banks(model, down):
    """A portrait and a style of another size, inverted exactly."""
    return [capture(model, smooth_latent(*size, seed), down)[0] for size, seed in (((8, 8), 10), ((7, 9), 20))]


@pytest.fixture(scope="module")
def content(banks):
    return banks[0].trajectory


@pytest.fixture(scope="module")
def style(banks):
    return banks[1].trajectory


@pytest.fixture(scope="module")
def fused(model, banks):
    return model.patched(fusion(model, FeatureFusion(), *banks))


def test_without_style_and_fusion_the_content_comes_back(model, content, down):
    back = FeatureFusionForward(content)(model, content.latents[-1], down)
    assert relative(back, content.latents[0]) < 1e-12
    for look in (Look(), BARE, Look("adain")):
        assert torch.equal(FeatureFusionForward(content, None, look)(model, content.latents[-1], down), back)


def test_the_content_comes_back_in_single_precision(down):
    """As a host runs it: 1e-4 is the law."""
    model = UNetDenoiser(ThinUNet(0).float(), (Conditioning.random("positive", 1),))
    (bank,) = capture(model, smooth_latent(8, 8, 10).float(), down.float(), layers="none")
    way = bank.trajectory
    back = FeatureFusionForward(way)(model, way.latents[-1], down.float())
    assert relative(back, way.latents[0]) < 1e-4  # measured 2e-7


def test_without_banks_it_is_plain_ddim(model, content, down):
    x = content.latents[-1]
    assert torch.equal(FeatureFusionForward()(model, x, down), sample(model, x, down))


def test_a_content_without_residuals_gives_none(model, down):
    (bank,) = capture(model, smooth_latent(8, 8, 1), down, FixedPoint())
    way = bank.trajectory
    forward = FeatureFusionForward(way)
    assert torch.equal(forward(model, way.latents[-1], down), sample(model, way.latents[-1], down))


@pytest.mark.parametrize(
    "look",
    [
        Look(),
        Look("adain", 0.6),
        Look("none"),
        Look("match", 0.3, detail=0.5, texture=0.4),
        Look("match", 0.0, texture=0.0),
        Look("adain", detail=0.0, texture=0.0),
    ],
    ids=str,
)
def test_it_is_its_pieces_composed_by_hand(fused, content, style, down, look):
    colors = 0.0 if look.color == "none" else look.color_strength
    x = content.latents[-1]
    if look.color == "adain":
        x = adain(x, style.latents[-1], look.color_strength)
    swap = TextureSwap(style.latents[0], down, look.texture, colors)
    x = sample(fused, x, down, content.residuals_down(STEPS), look.detail, correct=swap)
    if look.color == "match":
        x = transport(x, style.latents[0], look.color_strength)
    assert_close(FeatureFusionForward(content, style, look)(fused, content.latents[-1], down), x)


def test_a_look_that_asks_nothing_of_the_style_does_not_look_at_it(fused, content, style, down):
    """Not even whether it was inverted on this schedule."""
    strange = Trajectory(style.sigmas * 2, style.latents)
    with_it, without = (
        FeatureFusionForward(content, way, BARE)(fused, content.latents[-1], down) for way in (strange, None)
    )
    assert torch.equal(with_it, without)


@pytest.mark.parametrize(("skipped", "steps"), [(0.25, 2), (0.5, 4), (0.8, 6)])
@pytest.mark.parametrize("color", ["match", "adain"])
def test_skipped_steps_are_the_shorter_schedule_from_the_contents_own_latent(
    fused, content, style, down, skipped, steps, color
):
    look = Look(color)
    short = FeatureFusionForward(content, style, look)(fused, content.latents[STEPS - steps], down[steps:])
    whole = FeatureFusionForward(content, style, replace(look, skipped=skipped))
    noise = torch.full_like(content.latents[-1], 7.0)  # is not looked at
    assert torch.equal(whole(fused, noise, down), short)


def test_of_a_schedule_that_begins_later_only_what_is_left_is_skipped(model, content, down):
    """The part is one of the content's way, wherever sampling begins: two halves do not add up."""
    forward = FeatureFusionForward(content, None, Look(skipped=0.5))
    half = forward(model, content.latents[-1], down)
    for first in (2, 4, 6):
        x = content.latents[STEPS - first]
        visited = []
        back = forward(model, x, down[first:], visited.append)
        assert len(visited) == min(STEPS // 2, STEPS - first)
        assert_close(back, half, 1e-10)  # exact: both retrace the content


def test_skipped_steps_serve_a_batch_of_one_portrait(model, content, down):
    look = Look(skipped=0.5)
    both = FeatureFusionForward(content, None, look)(model, content.latents[-1].expand(2, -1, -1, -1), down)
    assert_close(both, content.latents[0].expand_as(both), 1e-10)


@pytest.mark.parametrize("skipped", [0.0, 0.5])
def test_callbacks_count_the_steps_of_the_schedule_that_was_given(model, content, down, skipped):
    states = []
    FeatureFusionForward(content, None, Look(skipped=skipped))(model, content.latents[-1], down, states.append)
    first = round(skipped * STEPS)
    assert [state["i"] for state in states] == list(range(first, STEPS))
    assert [float(state["sigma"]) for state in states] == down[first:-1].tolist()


def test_portraits_of_a_batch_get_what_each_gets_alone(model, style, down):
    (bank,) = capture(model, smooth_latent(8, 8, 30, batch=2), down, layers="none")
    way = bank.trajectory
    together = FeatureFusionForward(way, style)(model, way.latents[-1], down)
    for row in range(2):
        own = way.images(slice(row, row + 1))
        assert_close(together[row : row + 1], FeatureFusionForward(own, style)(model, own.latents[-1], down), 1e-10)


def test_going_up_is_refused(model, content, down):
    with pytest.raises(ValueError, match="goes from noise to picture"):
        FeatureFusionForward(content)(model, content.latents[0], ascending(down))


@pytest.mark.parametrize("role", ["content", "style"])
def test_a_way_along_another_schedule_is_refused(model, content, style, down, role):
    ways = {"content": content, "style": style}
    ways[role] = Trajectory(ways[role].sigmas * 1.1, ways[role].latents, ways[role].noise)
    with pytest.raises(ValueError, match=f"The {role} bank was captured on another schedule"):
        FeatureFusionForward(**ways)(model, content.latents[-1], down)


@pytest.mark.parametrize(
    ("rows", "size", "message"),
    [
        (1, (8, 8), "content bank holds 2 pictures, the sampler runs 1. Invert one content, or one for each"),
        (3, (8, 8), "content bank holds 2 pictures, the sampler runs 3"),
        (2, (8, 9), "inverted as a latent of 8x8, the sampler runs 8x9. Sample at the size"),
    ],
)
def test_a_latent_that_is_not_the_contents_is_refused(model, down, rows, size, message):
    (bank,) = capture(model, smooth_latent(8, 8, 30, batch=2), down, layers="none")
    with pytest.raises(ValueError, match=message):
        FeatureFusionForward(bank.trajectory)(model, smooth_latent(*size, 1, batch=rows), down)


def test_styles_of_another_number_than_portraits_are_refused(model, content, down):
    (bank,) = capture(model, smooth_latent(8, 8, 30, batch=3), down, layers="none")
    with pytest.raises(ValueError, match="The style bank holds 3 pictures, the sampler runs 2"):
        FeatureFusionForward(content, bank.trajectory)(model, content.latents[-1].expand(2, -1, -1, -1), down)


def test_to_skip_steps_takes_a_content_and_leaves_one_step(model, content, style, down):
    with pytest.raises(ValueError, match="Connect content_bank"):
        FeatureFusionForward(None, style, Look(skipped=0.5))(model, content.latents[-1], down)
    with pytest.raises(ValueError, match=r"All of the 8 steps are to be left out\. Set start_step to 7 or less"):
        FeatureFusionForward(content, style, Look(skipped=0.97))(model, content.latents[-1], down)


def test_one_dial_leads_from_reconstruction_to_the_whole_style_and_beyond():
    look, values = Look("adain", 0.8, 0.7, 0.6, 0.5), (0.0, 0.25, 1.0, 1.5, 2.0)
    strengths = [StyleStrength(value) for value in values]
    assert [strength.attention for strength in strengths] == [0.0, 0.25, 1.0, 1.25, 1.5]
    assert [strength.look for strength in strengths] == [0.0, 0.25, 1.0, 1.0, 1.0]
    for strength in strengths:
        changed = look.at(strength)
        assert (changed.color_strength, changed.texture) == (0.8 * strength.look, 0.6 * strength.look)
        assert replace(changed, color_strength=0.8, texture=0.6) == look
    assert StyleStrength().attention == StyleStrength().look == 1
