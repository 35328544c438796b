"""Several styles at once, where masks say and by shares."""

import pytest
import torch
import torch.nn.functional as F
from denoisers import assert_close, capture, feature, fusion, gaussian, select, smooth_latent
from formulas import look

from magicstyle_core.fusion.attention import FusionPatch
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.regions import Region, Regions
from magicstyle_core.fusion.rules import StandardAttention, Sum

STEP = 2
RULES = [
    FeatureFusion(),
    FeatureFusion(0.6, 0.4, queries="matched"),
    FeatureFusion(0.5, 0.5, "live+style", "live"),
    Sum((FeatureFusion(keys="content"), FeatureFusion()), (0.5, 0.5)),
]
FFA = FeatureFusion(1.0, 0.0)


@pytest.fixture(scope="module")
def other(model, sigmas):
    """A second style, of another size."""
    return capture(model, smooth_latent(6, 10, seed=60), sigmas)[0]


@pytest.fixture(scope="module")
def state(content):
    """A latent that has left the content's way, and its sigma."""
    latent = content.trajectory.latents[STEP] + 0.5 * smooth_latent(8, 8, seed=30)
    return latent, content.trajectory.sigmas[STEP : STEP + 1]


@pytest.fixture
def run(model, content, style, other, state):
    """One evaluation under regions."""

    def evaluate(*regions, model=model, **options):
        banks = {"content": content, "style": style, "other": other}
        patch = FusionPatch(Regions(regions), banks, select(model), **options)
        x, sigma = state
        return model.patched(patch)(x, sigma)

    return evaluate


def left(size=(8, 8), columns=4, batch=1):
    """A mask of the first columns."""
    mask = torch.zeros(batch, *size)
    mask[..., :columns] = 1
    return mask


def noisy(seed, size=(8, 8), batch=1):
    """A mask of any shares."""
    return gaussian((batch, *size), seed).sigmoid().float()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_one_region_of_weight_one_is_its_rule(model, content, style, state, run, rule):
    alone = model.patched(fusion(model, rule, content, style))(*state)
    assert torch.equal(run(Region(rule)), alone)
    assert torch.equal(run(Region(rule, weight=torch.ones(1, 8, 8))), alone)


def test_a_mask_of_zeros_or_a_weight_of_zero_is_the_plain_model(model, state, run):
    plain = model(*state)
    for weight in (0.0, torch.zeros(1, 8, 8)):
        assert torch.equal(run(Region(FFA, weight=weight)), plain)
    assert torch.equal(run(Region(StandardAttention())), plain)


def test_a_mask_of_ones_is_no_mask(run):
    everywhere = run(Region(FFA), Region(FFA, "other"))
    assert_close(run(*(Region(FFA, name, torch.ones(1, 8, 8)) for name in ("style", "other"))), everywhere)


@pytest.mark.parametrize("weight", [0.3, 0.9, noisy(1), left()], ids=["0.3", "0.9", "noisy", "left"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_is_missing_to_one_is_the_plain_attention(model, content, style, state, rule, weight):
    """At every layer, token by token."""
    banks = {"content": content, "style": style}
    patch = FusionPatch(Regions((Region(rule, weight=weight),)), banks, select(model))
    whole, part = (look(model.patched(p), *state) for p in (fusion(model, rule, content, style), patch))
    for layer in select(model):
        live, out = part[layer.key]
        plain = model.unet.block(layer.key).attn1(live, live, live)
        share = weight
        if isinstance(weight, torch.Tensor):
            share = F.interpolate(weight[:, None], layer.grid(8, 8), mode="area").flatten(2).mT.double()
        if layer.key[:2] == ("input", 1):  # the first: what reaches it is the same in both
            assert_close(out, share * whole[layer.key].output + (1 - share) * plain)
        assert out.shape == plain.shape


def test_two_styles_share_a_token_by_their_weights(model, content, style, other, state):
    """By number, in one sum with the plain attention."""
    banks = {"content": content, "style": style, "other": other}
    rule = Regions((Region(FFA, weight=0.5), Region(FFA, "other", 0.2)))
    for key, (live, out) in look(model.patched(FusionPatch(rule, banks, select(model))), *state).items():
        attention = model.unet.block(key).attn1
        c, one, two = (feature(bank, STEP, key, like=live).hidden for bank in banks.values())
        expected = 0.5 * attention(c, one, one) + 0.2 * attention(c, two, two) + 0.3 * attention(live, live, live)
        assert_close(out, expected)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 1.0), (0.9, 0.6)])
def test_what_overlaps_is_shared_out_in_proportion(run, weights):
    total = sum(weights)
    shares = [weight / total for weight in weights]
    by_shares = run(Region(FFA, weight=shares[0]), Region(FFA, "other", shares[1]))
    assert_close(run(Region(FFA, weight=weights[0]), Region(FFA, "other", weights[1])), by_shares)
    ones = torch.ones(1, 8, 8)
    assert_close(run(Region(FFA, weight=weights[0] * ones), Region(FFA, "other", weights[1] * ones)), by_shares, 1e-6)


def test_regions_commute(run):
    for one, two in ((left(), 1 - left()), (noisy(1), noisy(2)), (0.4, left())):
        there, back = Region(FFA, weight=one), Region(FeatureFusion(), "other", two)
        assert_close(run(there, back), run(back, there))


def test_disjoint_masks_do_not_see_each_other(model, content, style, other, state):
    """Where only one region is, the layer's output is that of its rule alone."""
    banks = {"content": content, "style": style, "other": other}
    rule = Regions((Region(FFA, weight=left()), Region(FFA, "other", 1 - left())))
    key = select(model, "input.1").layers[0].key
    both = look(model.patched(FusionPatch(rule, banks, select(model))), *state)[key].output.unflatten(1, (8, 8))
    for bank, columns in ((style, slice(0, 4)), (other, slice(4, 8))):
        alone = look(model.patched(fusion(model, FFA, content, bank)), *state)[key].output.unflatten(1, (8, 8))
        assert_close(both[:, :, columns], alone[:, :, columns])


def test_two_regions_of_one_style_are_their_union(run):
    halves = run(Region(FFA, weight=left()), Region(FFA, weight=1 - left()))
    assert_close(halves, run(Region(FFA)))
    quarter = left(columns=2)
    parts = run(Region(FFA, weight=quarter), Region(FFA, weight=left() - quarter))
    assert_close(parts, run(Region(FFA, weight=left())))


class Rows:
    """Counts the rows of queries that reach the projections."""

    def __init__(self):
        self.seen = 0

    def __call__(self, live, call):
        self.seen = max(self.seen, len(live.query))
        return live


@pytest.mark.parametrize("guidance", [1, 2])
def test_two_styles_cost_a_branch_each(model, guided, content, style, other, state, guidance):
    """In one evaluation; two patches one after the other run every branch of the first in each of the second."""
    chosen = model if guidance == 1 else guided
    banks = {"content": content, "style": style, "other": other}

    def rows(*patches):
        spy = Rows()
        chosen.patched(*patches, spy)(*state)
        return spy.seen / guidance

    def regions(*weights):
        named = zip(("style", "other"), weights, strict=True)
        return FusionPatch(Regions(tuple(Region(FFA, name, w) for name, w in named)), banks, select(model))

    assert rows(regions(0.5, 0.5)) == rows(regions(1.0, 1.0)) == rows(regions(left(), 1 - left())) == 2
    assert rows(regions(0.5, 0.4)) == rows(regions(left(columns=3), 1 - left())) == 3
    chained = [fusion(model, FFA, content, bank, strength=0.5) for bank in (style, other)]
    assert rows(*chained) == 4


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (24, 16), (31, 17), (64, 64)])
def test_masks_may_have_any_size(model, content, style, state, size):
    """A token has the mean of its part of the mask."""
    mask = noisy(3, size)
    for grid in ((8, 8), (4, 4), (5, 3)):
        weight = Region(FFA, weight=mask).on(grid)
        assert weight.shape == (1, grid[0] * grid[1], 1)
        assert bool(((weight >= 0) & (weight <= 1)).all())
        if size[0] % grid[0] == size[1] % grid[1] == 0:
            assert weight.mean() == pytest.approx(float(mask.mean()), abs=1e-6)
    ones = Region(FFA, weight=torch.ones(1, *size))
    patch = FusionPatch(Regions((ones,)), {"content": content, "style": style}, select(model))
    assert_close(model.patched(patch)(*state), model.patched(fusion(model, FFA, content, style))(*state), 1e-6)


@pytest.mark.parametrize("size", [(9, 13), (5, 7)])
def test_latents_of_odd_sizes_are_fused_in_regions(model, style, sigmas, size):
    (content,) = capture(model, smooth_latent(*size, 1), sigmas)
    banks = {"content": content, "style": style}
    mask = left(size, columns=size[1] // 2)
    rule = Regions((Region(FFA, weight=mask), Region(FFA, weight=1 - mask)))
    x, sigma = content.trajectory.latents[STEP], sigmas[-STEP - 1 : -STEP]
    whole = model.patched(fusion(model, FFA, content, style))(x, sigma)
    assert_close(model.patched(FusionPatch(rule, banks, select(model)))(x, sigma), whole, 1e-6)


def test_a_batch_of_masks_follows_the_rows(model, guided, style, sigmas):
    """Every image has its own mask in every chunk, as each alone."""
    (content,) = capture(model, smooth_latent(8, 8, 1, batch=3), sigmas)
    masks, sigma = torch.stack([left()[0], noisy(4)[0], torch.zeros(8, 8)]), sigmas[-STEP - 1 : -STEP]
    banks = {"content": content, "style": style}
    x = content.trajectory.latents[STEP] + smooth_latent(8, 8, 5, batch=3)

    def under(mask):
        return guided.patched(FusionPatch(Regions((Region(FFA, weight=mask),)), banks, select(guided)))

    together = under(masks)(x, sigma.expand(3))
    for row, mask in enumerate(masks.split(1)):
        shared = under(mask)(x, sigma.expand(3))
        assert_close(together[row], shared[row], 1e-11)
    assert_close(together[2:], guided(x[2:], sigma), 1e-11)


def test_a_region_reads_the_bank_of_its_name(run, model, content, style, other, state):
    for name, bank in (("style", style), ("other", other)):
        for rule in RULES:
            alone = model.patched(fusion(model, rule, content, bank))(*state)
            assert torch.equal(run(Region(rule, name)), alone)


def test_regions_read_and_need_what_their_rules_do_by_the_names_outside():
    bound, free = FeatureFusion(keys="content+style"), FeatureFusion(0.0, 1.0, queries="live")
    assert Regions((Region(free, "a"), Region(free, "b"))).reads == {"a", "b", "live"}
    assert Regions((Region(free, "a"), Region(bound, "b"))).reads == {"a", "b", "content", "live"}
    assert Regions((Region(free, "a"), Region(bound, "b"))).needs == {"a", "b", "content"}
    assert Regions((Region(FeatureFusion(), "a"), Region(StandardAttention()))).needs == {"a"}


def test_a_style_that_is_not_read_may_be_without_features(model, content, style, state, sigmas):
    (empty,) = capture(model, smooth_latent(8, 8, 20), sigmas, layers="none")
    banks = {"content": content, "style": style, "other": empty}
    only = FusionPatch(Regions((Region(FFA),)), banks, select(model))
    assert torch.equal(model.patched(only)(*state), model.patched(fusion(model, FFA, content, style))(*state))
    both = FusionPatch(Regions((Region(FFA), Region(FFA, "other"))), banks, select(model))
    assert both.at(float(state[1])) is None


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.5])
def test_strength_blends_regions_and_plain_attention(model, content, style, other, state, strength):
    banks = {"content": content, "style": style, "other": other}
    rule = Regions((Region(FFA, weight=left()), Region(FFA, "other", 0.5)))
    full, part = (
        look(model.patched(FusionPatch(rule, banks, select(model, "input.1"), strength=s)), *state)
        for s in (1.0, strength)
    )
    key = select(model, "input.1").layers[0].key
    live, out = part[key]
    plain = model.unet.block(key).attn1(live, live, live)
    assert_close(out, strength * full[key].output + (1 - strength) * plain)


def test_positive_rows_leave_the_negative_conditioning_alone(guided, content, style, other, state):
    banks = {"content": content, "style": style, "other": other}
    rule = Regions((Region(FFA, weight=left()), Region(FFA, "other", noisy(2))))
    everywhere, limited = (
        guided.patched(FusionPatch(rule, banks, select(guided), rows=rows)) for rows in ("all", "positive")
    )
    x, sigma = state
    positive, negative = limited.evaluate(x, sigma, [0, 1]).chunk(2)
    assert_close(positive, everywhere.evaluate(x, sigma, [0]), 1e-11)
    assert_close(negative, guided.evaluate(x, sigma, [1]), 1e-11)
