"""Several attentions at one layer: strength, weighted sums, patches on top of each other."""

from dataclasses import dataclass, replace

import pytest
import torch
from denoisers import assert_close, capture, gaussian, select, smooth_latent
from formulas import look

from magicstyle_core.fusion.attention import FusionPatch
from magicstyle_core.fusion.branches import FORWARD, Forward, FusedAttention
from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.base import AttentionInputs, Branch, Moment
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.layers import LayerKey
from magicstyle_core.fusion.rules import StandardAttention

STEP = 2
MOMENT = Moment(2, 4)


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

    def __call__(self, live, content, style, moment):
        assert moment == MOMENT
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
    fused = sum(attention(*branch.inputs) * branch.weight for branch in rule(inputs, content, style, MOMENT))
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


@pytest.mark.parametrize("size", [(4, 8), (8, 12), (9, 13), (16, 4)])
def test_strength_blends_attentions_over_different_numbers_of_tokens(
    model, content, running, sigma, sigmas, size
):
    (style,) = capture(model, smooth_latent(*size, 7), sigmas)
    rule = FeatureFusion(alpha=1, beta=0)
    patched = model.patched(FusionPatch(rule, content, style, select(model), strength=0.3))
    for name, layer in look(patched, running, sigma).items():
        features = (bank.get(STEP, name, like=running) for bank in (content, style))
        expected = blended(model.unet.block(name).attn1, rule, inputs_of(layer), *features, 0.3)
        assert_close(layer.output, expected)


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
        (fused,) = first.rule(inputs_of(layer), *stored, MOMENT)
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


@dataclass(frozen=True)
class Asking:
    """Standard attention that notes what it is given."""

    seen: list

    @property
    def reads(self):
        return frozenset({"content", "style"})

    def __call__(self, live, content, style, moment):
        self.seen.append((content.hidden, style.hidden, moment))
        return [Branch(live)]


@pytest.mark.parametrize(("lookup", "shares"), [("nearest", {2: 1.0}), ("interpolate", {2: 0.9, 3: 0.1})])
def test_between_two_steps_a_rule_gets_the_nearest_or_the_mean(model, content, style, running, lookup, shares):
    low, high = content.trajectory.sigmas[STEP : STEP + 2].tolist()
    rule, layers = Asking([]), select(model, "input.1")
    patch = FusionPatch(rule, content, style, layers, lookup=lookup)
    model.patched(patch)(running, torch.tensor([low**0.9 * high**0.1], dtype=torch.float64))
    ((*hidden, moment),) = rule.seen
    key = layers.layers[0].key
    for given, bank in zip(hidden, (content, style), strict=True):
        expected = sum(share * bank.get(step, key, like=running).hidden for step, share in shares.items())
        assert_close(given, expected)
    assert moment == MOMENT


@dataclass(frozen=True)
class Averaged:
    """A branch with an attention of its own: all keys weigh alike, whatever the queries are."""

    extra: int = 0

    @property
    def reads(self):
        return frozenset({"style"})

    def __call__(self, live, content, style, moment):
        query = torch.cat([live.query, live.query[:, : self.extra]], 1)
        return [Branch(AttentionInputs(query, style.hidden, style.hidden), 1.0, self.mean)]

    def mean(self, q, k, v, heads, plain):
        assert heads == 4
        assert q.shape[1] == k.shape[1] + self.extra  # a style of the content's size
        return v.mean(1, keepdim=True).expand(-1, q.shape[1] - self.extra, -1)


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("extra", [0, 3])
def test_a_branch_may_bring_its_own_attention(guided, content, style, running, sigma, strength, extra):
    """It gets its own tokens, without those that stacking added, and may use up queries of its own."""
    patch = FusionPatch(Averaged(extra), content, style, select(guided), strength)
    for name, layer in look(guided.patched(patch), torch.cat([running, running.flip(3)]), sigma).items():
        attention = guided.unet.block(name).attn1
        mean = style.get(STEP, name, like=running).hidden.mean(1, keepdim=True)
        averaged = attention.to_out(attention.to_v(mean))
        expected = strength * averaged + (1 - strength) * attention(*inputs_of(layer))
        assert_close(layer.output, expected)


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_a_later_patch_blends_with_what_an_earlier_one_attends_to(model, content, style, running, sigma, strength):
    patches = (
        FusionPatch(Averaged(), content, style, select(model)),
        FusionPatch(FeatureFusion(1, 0), content, style, select(model), strength),
    )
    for name, layer in look(model.patched(*patches), running, sigma).items():
        attention = model.unet.block(name).attn1
        c, s = (bank.get(STEP, name, like=running).hidden for bank in (content, style))
        averaged = attention.to_out(attention.to_v(s.mean(1, keepdim=True)))
        expected = strength * attention(c, s, s) + (1 - strength) * averaged
        assert_close(layer.output, expected)


@pytest.mark.parametrize("address", [("middle", 0), ("middle", 0, 0)])
def test_a_layer_whose_attention_another_node_replaces_is_left_to_it(model, content, style, running, sigma, address):
    layer = LayerKey("middle", 0, 0)
    assert Forward(frozenset({address})).is_replaced(layer)
    assert not Forward(frozenset({("middle", 1), ("middle", 0, 1)})).is_replaced(layer)
    rule = Asking([])
    patch = FusionPatch(rule, content, style, select(model, "middle"))

    def replaced(n, context, value, extra_options):
        extra_options[FORWARD] = Forward(frozenset({address}))
        return n, context, value

    model.patched(replaced, patch)(running, sigma)
    assert not rule.seen


def test_a_stack_that_no_attention_takes_is_an_error():
    forward, layer = Forward(), LayerKey("middle", 0, 0)
    hidden = torch.zeros(1, 4, 8)
    live = AttentionInputs(hidden, hidden, hidden)
    forward.check_all_used()
    forward.stack(layer, [Branch(live)], live)
    forward.check_all_used()  # one plain attention needs nobody
    forward.stack(layer, [Branch(live, 0.5), Branch(live, 0.5)], live)
    with pytest.raises(ValueError, match=r"Another node computes the attention of layer middle\.0\.0"):
        forward.check_all_used()
    forward.check_all_used()


def test_attention_over_rows_or_tokens_that_another_node_rearranged_is_refused():
    """The host would read one picture's rows as another's, without a word."""
    forward, layer = Forward(), LayerKey("middle", 0, 0)
    fused = FusedAttention(forward)
    hidden = torch.zeros(1, 4, 8)
    live = AttentionInputs(hidden, hidden, hidden)
    forward.stack(layer, [Branch(live)], live)
    with pytest.raises(ValueError, match=r"At layer middle\.0\.0 the attention got 4 rows of queries instead of 1"):
        fused(None, torch.zeros(4, 2, 8), torch.zeros(2, 4, 8), torch.zeros(2, 4, 8), 2)
    # At a layer that is not fused other nodes do as they like.
    assert fused(lambda q, k, v, heads: q, torch.zeros(4, 2, 8), torch.zeros(2, 4, 8), live.value, 2).shape == (4, 2, 8)
    for q, k in (((4, 2, 8), (2, 4, 8)), ((2, 2, 8), (2, 4, 8)), ((2, 4, 8), (2, 77, 8))):
        forward.stack(layer, [Branch(live, 0.5), Branch(live, 0.5)], live)
        with pytest.raises(ValueError, match=r"At layer middle\.0\.0 .* merges or tiles tokens"):
            fused(None, torch.zeros(q), torch.zeros(k), torch.zeros(k), 2)


def test_attention_that_another_node_overrides_still_runs(model, content, style, running, sigma):
    """The host has one place for such a function: the one that was there is called for every branch."""
    calls = []

    def faster(func, q, k, v, heads, **kwargs):
        calls.append(len(q))
        return func(q, k, v, heads, **kwargs)

    forward = Forward()
    fused, hidden = FusedAttention(forward, faster), torch.zeros(2, 4, 8)
    live = AttentionInputs(hidden, hidden, hidden)
    stacked = forward.stack(LayerKey("middle", 0, 0), [Branch(live, 0.5), Branch(live, 0.5)], live)
    out = fused(lambda q, k, v, heads, scale: v * scale, *stacked, 2, scale=3)
    assert torch.equal(out, hidden)
    assert calls == [2, 2]
