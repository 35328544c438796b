"""Several attentions at one layer: strength, weighted sums, patches on top of each other."""

from dataclasses import dataclass, replace

import pytest
import torch
from denoisers import assert_close, capture, gaussian, select, smooth_latent
from formulas import look

from magicstyle_core.attention import MAX_REPEAT, FusionPatch
from magicstyle_core.features import Feature
from magicstyle_core.fusion import AttentionInputs, Branch, FeatureFusion, StandardAttention

STEP = 2


@pytest.fixture(scope="module")
def running(content):
    return content.trajectory.latents[STEP] + 0.5 * smooth_latent(8, 8, seed=30)


@pytest.fixture(scope="module")
def sigma(content):
    return content.trajectory.sigmas[STEP : STEP + 1]


@dataclass(frozen=True)
class Weighted:
    """Style, content and live attention with these weights, as a function of the number of tokens."""

    weights: object

    @property
    def reads(self):
        return frozenset({"content", "style"})

    def __call__(self, live, content, style):
        inputs = (
            AttentionInputs(content.hidden, style.hidden, style.hidden.flip(1)),
            AttentionInputs(content.hidden, content.hidden, content.hidden),
            live,
        )
        return [Branch(*pair) for pair in zip(inputs, self.weights(live.query), strict=True)]


def inputs_of(layer):
    return AttentionInputs(layer.live, layer.live, layer.live)


def blended(attention, rule, inputs, content, style, strength):
    """Attention under a rule at a strength, branch by branch, without stacking anything."""
    fused = sum(attention(*branch.inputs) * branch.weight for branch in rule(inputs, content, style))
    return strength * fused + (1 - strength) * attention(*inputs)


@pytest.mark.parametrize("strength", [0.5, 0.1, 0.999, 1.5, -0.5])
def test_strength_blends_styled_and_plain_attention(model, content, style, running, sigma, strength):
    full, part = (
        look(
            model.patched(FusionPatch(FeatureFusion(), content, style, select(model), strength=s)),
            running,
            sigma,
        )
        for s in (1.0, strength)
    )
    for name, layer in part.items():
        plain = model.unet.block(name).attn1(layer.live, layer.live, layer.live)
        expected = strength * full[name].output + (1 - strength) * plain
        assert_close(layer.output, expected)


def test_half_strength_is_the_mean_of_the_two(model, content, style, running, sigma):
    layers = select(model, "input.1")  # the first layer: what reaches it is the same in all three
    plain, half, full = (
        look(model.patched(FusionPatch(FeatureFusion(), content, style, layers, strength=s)), running, sigma)
        for s in (0.0, 0.5, 1.0)
    )
    key = layers.layers[0].key
    mean = (plain[key].output + full[key].output) / 2
    assert_close(half[key].output, mean)


@pytest.mark.parametrize("size", [(4, 8), (8, 12), (12, 8), (16, 4)])
def test_strength_blends_attentions_over_different_numbers_of_tokens(
    model, content, running, sigma, sigmas, size
):
    """Keys are repeated to a common number, which leaves the softmax as it is."""
    (style,) = capture(model, smooth_latent(*size, 7), sigmas)
    rule = FeatureFusion(alpha=1, beta=0)
    patched = model.patched(FusionPatch(rule, content, style, select(model), strength=0.3))
    for name, layer in look(patched, running, sigma).items():
        features = (bank.get(STEP, name, like=running) for bank in (content, style))
        expected = blended(model.unet.block(name).attn1, rule, inputs_of(layer), *features, 0.3)
        assert_close(layer.output, expected)


def test_token_counts_that_would_be_repeated_too_often_are_refused(model, content, running, sigma, sigmas):
    (style,) = capture(model, smooth_latent(9, 13, 7), sigmas)
    assert 64 * 117 > MAX_REPEAT * 117
    half, full = (FusionPatch(FeatureFusion(), content, style, select(model), strength=s) for s in (0.5, 1.0))
    with pytest.raises(ValueError, match=r"over 117 and 64 tokens at layer input\.1\.0 .* 64 times\. Resize"):
        model.patched(half)(running, sigma)
    model.patched(full)(running, sigma)


@pytest.mark.parametrize(
    "weights",
    [
        lambda n: (0.2, 0.3, 0.5),
        lambda n: (1.7, -0.3, -0.4),
        lambda n: torch.softmax(gaussian((3, 1, n.shape[1], 1), 1), 0),
        lambda n: torch.softmax(gaussian((3, len(n), n.shape[1], 1), 2), 0),
        lambda n: torch.softmax(gaussian((3, len(n), 1, 1), 3), 0),
        lambda n: (0.25, *(torch.softmax(gaussian((2, 1, n.shape[1], 1), 4), 0) * 0.75)),
    ],
    ids=["numbers", "extrapolation", "per token", "per token and row", "per row", "mixed"],
)
def test_branches_are_summed_by_their_weights(guided, content, style, running, sigma, weights):
    """Weights are applied after the output projection, which is affine: they sum to 1."""
    rule, x = Weighted(weights), torch.cat([running, running.flip(3)])
    patched = guided.patched(FusionPatch(rule, content, style, select(guided)))
    for name, layer in look(patched, x, sigma).items():
        features = (
            Feature(feature.hidden.expand(4, -1, -1), feature.grid)
            for feature in (bank.get(STEP, name, like=x) for bank in (content, style))
        )
        expected = blended(guided.unet.block(name).attn1, rule, inputs_of(layer), *features, 1.0)
        assert_close(layer.output, expected)


def test_a_weight_of_one_on_one_branch_is_that_branch(model, content, style, running, sigma):
    only_content = Weighted(lambda n: (n.new_zeros(1, n.shape[1], 1), n.new_ones(1, n.shape[1], 1), 0.0))
    stacked, single = (
        look(model.patched(FusionPatch(rule, content, style, select(model))), running, sigma)
        for rule in (only_content, FeatureFusion(alpha=1, beta=0, keys="content"))
    )
    for name in single:
        assert_close(stacked[name].output, single[name].output)


@pytest.mark.parametrize(
    "strengths", [(0.5, 0.25), (1.0, 0.25), (0.5, 1.0), (1.0, 1.0), (0.0, 0.5), (0.3, 0.0)]
)
def test_two_patches_on_one_layer_nest(guided, content, style, running, sigma, strengths):
    """The second sees as live what the first made: every branch of the first is blended by the second."""
    first = FusionPatch(FeatureFusion(), content, style, select(guided), strength=strengths[0])
    second = replace(
        first,
        rule=FeatureFusion(0.75, 0.25, keys="live+style", queries="live"),
        style=content,
        strength=strengths[1],
    )
    x = torch.cat([running, running.flip(3)])
    for name, layer in look(guided.patched(first, second), x, sigma).items():
        attention = guided.unet.block(name).attn1
        stored = [
            Feature(feature.hidden.expand(4, -1, -1), feature.grid)
            for feature in (bank.get(STEP, name, like=x) for bank in (content, style))
        ]
        (fused,) = first.rule(inputs_of(layer), *stored)
        expected = sum(
            weight * blended(attention, second.rule, inputs, stored[0], stored[0], strengths[1])
            for inputs, weight in ((fused.inputs, strengths[0]), (inputs_of(layer), 1 - strengths[0]))
        )
        assert_close(layer.output, expected, 1e-11)


def test_three_patches_with_positive_rows_nest_too(guided, content, style, running, sigma):
    """Rows stay where they belong when stacks are stacked: negative rows come out unpatched."""
    patches = [
        FusionPatch(
            FeatureFusion(), content, style, select(guided, "input.1"), strength=strength, rows="positive"
        )
        for strength in (0.5, 0.4, 0.3)
    ]
    key = patches[0].layers.layers[0].key
    layer = look(guided.patched(*patches), torch.cat([running, running.flip(3)]), sigma)[key]
    attention = guided.unet.block(key).attn1
    plain = attention(layer.live, layer.live, layer.live)
    c, s = (bank.get(STEP, key, like=running).hidden.expand(4, -1, -1) for bank in (content, style))
    styled = attention(0.8 * c + 0.2 * s, s, s)
    share = 1 - 0.5 * 0.6 * 0.7  # what three blends towards the same attention leave unstyled
    expected = torch.cat([(share * styled + (1 - share) * plain)[:2], plain[2:]])
    assert_close(layer.output, expected, 1e-11)


def test_a_patch_that_does_nothing_below_or_above_another_changes_nothing(
    model, content, style, running, sigma
):
    active = FusionPatch(FeatureFusion(), content, style, select(model), strength=0.5)
    alone = model.patched(active)(running, sigma)
    for idle in (replace(active, strength=0.0), replace(active, rule=StandardAttention(), strength=1.0)):
        assert torch.equal(model.patched(active, idle)(running, sigma), alone)
        assert torch.equal(model.patched(idle, active)(running, sigma), alone)
