"""Several attentions at one layer: strength, weighted sums, patches on top of each other."""

from dataclasses import dataclass, replace

import pytest
import torch
from denoisers import assert_close, capture, feature, fusion, gaussian, select, smooth_latent
from formulas import look

from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.attention import ForwardPass
from magicstyle_core.fusion.base import AttentionInputs, Branch, FusionRule, Moment
from magicstyle_core.fusion.branches import Pending
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.rules import StandardAttention
from magicstyle_core.layers import LayerKey

STEP = 2
MOMENT = Moment(2, 4)


@pytest.fixture(scope="module")
def running(content):
    return content.trajectory.latents[STEP] + 0.5 * smooth_latent(8, 8, seed=30)


@pytest.fixture(scope="module")
def sigma(content):
    return content.trajectory.sigmas[STEP : STEP + 1]


@dataclass(frozen=True)
class Weighted(FusionRule):
    """Style, content and live attention with these weights, as a function of the number of tokens."""

    weights: object

    @property
    def reads(self):
        return frozenset({"content", "style"})

    def __call__(self, live, stored, moment):
        assert moment[:2] == MOMENT[:2]
        content, style = stored["content"], stored["style"]
        inputs = (
            AttentionInputs(content.hidden, style.hidden, style.hidden.flip(1)),
            AttentionInputs(content.hidden, content.hidden, content.hidden),
            live,
        )
        return [Branch(*pair) for pair in zip(inputs, self.weights(live.query), strict=True)]


def inputs_of(layer):
    return AttentionInputs(layer.live, layer.live, layer.live)


def stored_of(content, style, key, rows):
    """What two banks hold of a layer, for every row."""
    found = {name: feature(bank, STEP, key, like=rows) for name, bank in (("content", content), ("style", style))}
    return {name: Feature(kept.hidden.expand(len(rows), -1, -1), kept.grid) for name, kept in found.items()}


def blended(attention, rule, inputs, stored, strength):
    """Attention under a rule at a strength, branch by branch, without stacking anything."""
    moment = MOMENT._replace(grid=stored["content"].grid)
    fused = sum(attention(*branch.inputs) * branch.weight for branch in rule(inputs, stored, moment))
    return strength * fused + (1 - strength) * attention(*inputs)


@pytest.mark.parametrize("strength", [0.5, 0.1, 0.999, 1.5, -0.5])
def test_strength_blends_styled_and_plain_attention(model, content, style, running, sigma, strength):
    full, part = (
        look(
            model.patched(fusion(model, FeatureFusion(), content, style, strength=s)),
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
        look(model.patched(fusion(model, FeatureFusion(), content, style, layers, strength=s)), running, sigma)
        for s in (0.0, 0.5, 1.0)
    )
    key = layers.layers[0].key
    mean = (plain[key].output + full[key].output) / 2
    assert_close(half[key].output, mean)


@pytest.mark.parametrize("size", [(4, 8), (8, 12), (9, 13), (16, 4)])
def test_strength_blends_attentions_over_different_numbers_of_tokens(model, content, running, sigma, sigmas, size):
    (style,) = capture(model, smooth_latent(*size, 7), sigmas)
    rule = FeatureFusion(alpha=1, beta=0)
    patched = model.patched(fusion(model, rule, content, style, strength=0.3))
    for name, layer in look(patched, running, sigma).items():
        stored = stored_of(content, style, name, layer.live)
        expected = blended(model.unet.block(name).attn1, rule, inputs_of(layer), stored, 0.3)
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
    patched = guided.patched(fusion(guided, rule, content, style))
    for name, layer in look(patched, x, sigma).items():
        stored = stored_of(content, style, name, layer.live)
        expected = blended(guided.unet.block(name).attn1, rule, inputs_of(layer), stored, 1.0)
        assert_close(layer.output, expected)


def test_a_weight_of_one_on_one_branch_is_that_branch(model, content, style, running, sigma):
    only_content = Weighted(lambda n: (n.new_zeros(1, n.shape[1], 1), n.new_ones(1, n.shape[1], 1), 0.0))
    stacked, single = (
        look(model.patched(fusion(model, rule, content, style)), running, sigma)
        for rule in (only_content, FeatureFusion(alpha=1, beta=0, keys="content"))
    )
    for name in single:
        assert_close(stacked[name].output, single[name].output)


@pytest.mark.parametrize("strengths", [(0.5, 0.25), (1.0, 0.25), (0.5, 1.0), (1.0, 1.0), (0.0, 0.5), (0.3, 0.0)])
def test_two_patches_on_one_layer_nest(guided, content, style, running, sigma, strengths):
    """The second sees as live what the first made: every branch of the first is blended by the second."""
    first = fusion(guided, FeatureFusion(), content, style, strength=strengths[0])
    second = replace(
        first,
        rule=FeatureFusion(0.75, 0.25, keys="live+style", queries="live"),
        banks={"content": content, "style": content},
        strength=strengths[1],
    )
    x = torch.cat([running, running.flip(3)])
    for name, layer in look(guided.patched(first, second), x, sigma).items():
        attention = guided.unet.block(name).attn1
        stored = stored_of(content, style, name, layer.live)
        (fused,) = first.rule(inputs_of(layer), stored, MOMENT._replace(grid=stored["content"].grid))
        own = {"content": stored["content"], "style": stored["content"]}
        expected = sum(
            weight * blended(attention, second.rule, inputs, own, strengths[1])
            for inputs, weight in ((fused.inputs, strengths[0]), (inputs_of(layer), 1 - strengths[0]))
        )
        assert_close(layer.output, expected, 1e-11)


def test_three_patches_with_positive_rows_nest_too(guided, content, style, running, sigma):
    """Rows stay where they belong when stacks are stacked: negative rows come out unpatched."""
    patches = [
        fusion(guided, FeatureFusion(), content, style, "input.1", strength=strength, rows="positive")
        for strength in (0.5, 0.4, 0.3)
    ]
    key = patches[0].layers.layers[0].key
    layer = look(guided.patched(*patches), torch.cat([running, running.flip(3)]), sigma)[key]
    attention = guided.unet.block(key).attn1
    plain = attention(layer.live, layer.live, layer.live)
    c, s = (feature(bank, STEP, key, like=running).hidden.expand(4, -1, -1) for bank in (content, style))
    styled = attention(0.8 * c + 0.2 * s, s, s)
    share = 1 - 0.5 * 0.6 * 0.7  # what three blends towards the same attention leave unstyled
    expected = torch.cat([(share * styled + (1 - share) * plain)[:2], plain[2:]])
    assert_close(layer.output, expected, 1e-11)


def test_a_patch_that_does_nothing_below_or_above_another_changes_nothing(model, content, style, running, sigma):
    active = fusion(model, FeatureFusion(), content, style, strength=0.5)
    alone = model.patched(active)(running, sigma)
    for idle in (replace(active, strength=0.0), replace(active, rule=StandardAttention(), strength=1.0)):
        assert torch.equal(model.patched(active, idle)(running, sigma), alone)
        assert torch.equal(model.patched(idle, active)(running, sigma), alone)


@dataclass(frozen=True)
class Asking(FusionRule):
    """Standard attention that notes what it is given."""

    seen: list

    @property
    def reads(self):
        return frozenset({"content", "style"})

    def __call__(self, live, stored, moment):
        self.seen.append((stored["content"], stored["style"], moment))
        return [Branch(live)]


@pytest.mark.parametrize(("share", "step"), [(0.1, STEP), (0.9, STEP + 1)])
def test_between_two_steps_a_rule_gets_the_nearest(model, content, style, running, share, step):
    low, high = content.trajectory.sigmas[STEP : STEP + 2].tolist()
    rule, layers = Asking([]), select(model, "input.1")
    patch = fusion(model, rule, content, style, layers)
    model.patched(patch)(running, torch.tensor([low ** (1 - share) * high**share], dtype=torch.float64))
    ((*given, moment),) = rule.seen
    for mine, bank in zip(given, (content, style), strict=True):
        assert torch.equal(mine.hidden, feature(bank, step, layers.layers[0].key, like=running).hidden)
    assert moment == Moment(4 - step, 4, (8, 8))


def test_a_rule_is_told_the_grid_of_its_layer(model, content, style, running, sigma):
    rule = Asking([])
    model.patched(fusion(model, rule, content, style))(running, sigma)
    grids = [moment.grid for *_, moment in rule.seen]
    assert grids == [layer.grid(8, 8) for layer in select(model)] == [kept.grid for kept, *_ in rule.seen]


@dataclass(frozen=True)
class Averaged(FusionRule):
    """A branch with an attention of its own: all keys weigh alike, whatever the queries are."""

    extra: int = 0

    @property
    def reads(self):
        return frozenset({"style"})

    def __call__(self, live, stored, moment):
        style = stored["style"]
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
    patch = fusion(guided, Averaged(extra), content, style, strength=strength)
    for name, layer in look(guided.patched(patch), torch.cat([running, running.flip(3)]), sigma).items():
        attention = guided.unet.block(name).attn1
        mean = feature(style, STEP, name, like=running).hidden.mean(1, keepdim=True)
        averaged = attention.to_out(attention.to_v(mean))
        expected = strength * averaged + (1 - strength) * attention(*inputs_of(layer))
        assert_close(layer.output, expected)


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_a_later_patch_blends_with_what_an_earlier_one_attends_to(model, content, style, running, sigma, strength):
    patches = (
        fusion(model, Averaged(), content, style),
        fusion(model, FeatureFusion(1, 0), content, style, strength=strength),
    )
    for name, layer in look(model.patched(*patches), running, sigma).items():
        attention = model.unet.block(name).attn1
        c, s = (feature(bank, STEP, name, like=running).hidden for bank in (content, style))
        averaged = attention.to_out(attention.to_v(s.mean(1, keepdim=True)))
        expected = strength * attention(c, s, s) + (1 - strength) * averaged
        assert_close(layer.output, expected)


@pytest.mark.parametrize("address", [("middle", 0), ("middle", 0, 0)])
def test_a_layer_whose_attention_another_node_replaces_is_left_to_it(model, content, style, running, sigma, address):
    layer = LayerKey("middle", 0, 0)
    assert ForwardPass(1.0, replaced=frozenset({address})).is_replaced(layer)
    assert not ForwardPass(1.0, replaced=frozenset({("middle", 1), ("middle", 0, 1)})).is_replaced(layer)
    rule = Asking([])
    patch = fusion(model, rule, content, style, "middle")
    for replaced in (frozenset({address}), frozenset()):
        replace(model.patched(patch), replaced=replaced)(running, sigma)
        assert bool(rule.seen) != bool(replaced)


def test_a_stack_that_no_attention_takes_is_an_error():
    pending, layer = Pending(), LayerKey("middle", 0, 0)
    hidden = torch.zeros(1, 4, 8)
    live = AttentionInputs(hidden, hidden, hidden)
    pending.check_all_used()
    pending.stack(layer, [Branch(live)], live)
    pending.check_all_used()  # one plain attention needs nobody
    pending.stack(layer, [Branch(live, 0.5), Branch(live, 0.5)], live)
    with pytest.raises(ValueError, match=r"Another node computes the attention of layer middle\.0\.0"):
        pending.check_all_used()
    pending.check_all_used()


def test_attention_over_rows_or_tokens_that_another_node_rearranged_is_refused():
    """The host would read one picture's rows as another's, without a word."""
    pending, layer = Pending(), LayerKey("middle", 0, 0)
    hidden = torch.zeros(1, 4, 8)
    live = AttentionInputs(hidden, hidden, hidden)
    pending.stack(layer, [Branch(live)], live)
    with pytest.raises(ValueError, match=r"At layer middle\.0\.0 the attention got 4 rows of queries instead of 1"):
        pending.attend(None, torch.zeros(4, 2, 8), torch.zeros(2, 4, 8), torch.zeros(2, 4, 8), 2)
    # At a layer that is not fused other nodes do as they like.
    rearranged = torch.zeros(4, 2, 8), torch.zeros(2, 4, 8), live.value
    assert pending.attend(lambda q, k, v: q, *rearranged, 2).shape == (4, 2, 8)
    for q, k in (((4, 2, 8), (2, 4, 8)), ((2, 2, 8), (2, 4, 8)), ((2, 4, 8), (2, 77, 8))):
        pending.stack(layer, [Branch(live, 0.5), Branch(live, 0.5)], live)
        with pytest.raises(ValueError, match=r"At layer middle\.0\.0 .* merges or tiles tokens"):
            pending.attend(None, torch.zeros(q), torch.zeros(k), torch.zeros(k), 2)


def test_the_hosts_attention_runs_once_for_every_branch():
    """On the rows and tokens of the branch; whatever a host puts in its place is called the same way."""
    calls, pending, hidden = [], Pending(), gaussian((2, 4, 8), 1)
    live = AttentionInputs(hidden, hidden, hidden)
    longer = AttentionInputs(hidden, *[gaussian((2, 6, 8), 2)] * 2)

    def plain(q, k, v):
        calls.append((tuple(q.shape), tuple(k.shape)))
        return v.mean(1, keepdim=True).expand_as(q)

    stacked = pending.stack(LayerKey("middle", 0, 0), [Branch(live, 0.25), Branch(longer, 0.75)], live)
    assert [x.shape[:2] for x in stacked] == [(4, 4), (4, 6), (4, 6)]
    out = pending.attend(plain, *stacked, 2)
    means = [inputs.value.mean(1, keepdim=True) for inputs in (live, longer)]
    assert_close(out, (0.25 * means[0] + 0.75 * means[1]).expand_as(out))
    assert calls == [((2, 4, 8), (2, 4, 8)), ((2, 4, 8), (2, 6, 8))]
