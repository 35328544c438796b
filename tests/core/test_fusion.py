"""Feature Fusion Attention on hidden states is the formula on projected features (laws 4 and 6)."""

import itertools
from dataclasses import FrozenInstanceError, replace
from typing import get_args

import pytest
import torch
from denoisers import assert_close, feature, fusion, gaussian, relative, smooth_latent
from formulas import attend, both, look, project, scenes

from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.bank.features import Feature, PackedFeature
from magicstyle_core.bank.storage import MemoryStore, Place
from magicstyle_core.fusion.attention import with_strength
from magicstyle_core.fusion.base import AttentionInputs, Branch, Moment
from magicstyle_core.fusion.ffa import FeatureFusion, Keys, Queries
from magicstyle_core.fusion.matching import relay
from magicstyle_core.fusion.rules import StandardAttention

STEP = 2


@pytest.fixture(scope="module")
def running(content):
    """A latent on its way down that has left the content's trajectory."""
    return content.trajectory.latents[STEP] + 0.5 * smooth_latent(8, 8, seed=30)


@pytest.fixture
def fused(model, content, style, running):
    """Layers of the model under a rule, next to what live, content and style would project to."""

    def evaluate(rule, content=content, style=style, **options):
        patch = fusion(model, rule, content, style, **options)
        return scenes(model.patched(patch), running, content, style, STEP)

    return evaluate


def shuffled(bank):
    """The bank with the tokens of every feature in another order."""
    features = {}
    for place in (Place(step, layer.key) for step in set(bank.kept_for.values()) for layer in bank.layers):
        hidden, scale, grid = bank.store.at(place.step)[place.key]
        order = torch.randperm(hidden.shape[1], generator=torch.Generator().manual_seed(1))
        features[place] = PackedFeature(hidden[:, order], scale, grid)
    return FeatureBank(bank.trajectory, bank.model, MemoryStore(features), bank.layers, bank.kept_for)


@pytest.mark.parametrize("temperature", [1.0, 1.5])
@pytest.mark.parametrize("alpha", [1.0, 0.8, 0.3, 0.0])
@pytest.mark.parametrize(("keys", "queries"), [*itertools.product(get_args(Keys), ("stored", "live"))])
def test_fusing_hidden_states_equals_fusing_projections(fused, keys, queries, alpha, temperature):
    for _, (attention, live, content, style, output) in fused(
        FeatureFusion(alpha, 1 - alpha, keys, queries, temperature)
    ):
        q = alpha * content.q + (1 - alpha) * (style.q if queries == "stored" else live.q)
        k, v = {
            "style": (style.k, style.v),
            "content": (content.k, content.v),
            "content+style": (both(content.k, style.k), both(content.v, style.v)),
            "live+style": (both(live.k, style.k), both(live.v, style.v)),
        }[keys]
        expected = attention.to_out(attend(q, k, v, temperature))
        assert_close(output, expected)  # measured 6e-16


def test_the_defaults_are_the_papers_dials():
    assert FeatureFusion() == FeatureFusion(alpha=0.8, beta=0.2, keys="style", queries="stored", temperature=1.0)


def test_alpha_one_is_cross_image_attention(fused):
    for _, scene in fused(FeatureFusion(alpha=1, beta=0)):
        scene.expect(attend(scene.content.q, scene.style.k, scene.style.v))


def test_beta_one_is_the_styles_own_attention_whatever_the_content(model, style, fused):
    own = look(model, style.trajectory.latents[STEP], style.trajectory.sigmas[STEP : STEP + 1])
    for name, scene in fused(FeatureFusion(alpha=0, beta=1)):
        assert_close(scene.output, own[name].output)


def test_stored_queries_do_not_listen_to_the_running_latent(model, content, style, running):
    """All-stored fusion is open loop: only what is around attention is live."""
    patched = model.patched(fusion(model, FeatureFusion(), content, style))
    sigma = content.trajectory.sigmas[STEP : STEP + 1]
    one, other = (look(patched, x, sigma) for x in (running, running + gaussian(running.shape, 7)))
    for name in one:
        assert torch.equal(one[name].output, other[name].output)
        assert not torch.equal(one[name].live, other[name].live)


@pytest.mark.parametrize("keys", ["style", "content+style", "live+style"])
def test_the_order_of_the_styles_tokens_does_not_matter_at_beta_zero(fused, style, keys):
    rule = FeatureFusion(alpha=1, beta=0, keys=keys)
    for (_, before), (_, after) in zip(fused(rule), fused(rule, style=shuffled(style)), strict=True):
        assert_close(before.output, after.output)


def test_the_order_of_the_styles_tokens_matters_once_its_queries_are_read(fused, style):
    rule = FeatureFusion(alpha=0.8, beta=0.2)
    for (_, before), (_, after) in zip(fused(rule), fused(rule, style=shuffled(style)), strict=True):
        assert float((before.output - after.output).abs().max()) > 1e-3


def test_live_queries_ignore_the_order_of_the_styles_tokens_at_any_beta(fused, style):
    rule = FeatureFusion(alpha=0.5, beta=0.5, queries="live")
    for (_, before), (_, after) in zip(fused(rule), fused(rule, style=shuffled(style)), strict=True):
        assert_close(before.output, after.output)


def test_content_keys_read_nothing_of_the_style_but_its_queries(fused):
    for _, scene in fused(FeatureFusion(alpha=1, beta=0, keys="content")):
        scene.expect(attend(*scene.content))


def test_style_only_output_stays_within_the_styles_values(model, fused):
    """Attention averages: without the output projection nothing leaves the range of the values."""
    for _, scene in fused(FeatureFusion()):
        low, high = (scene.style.v.transpose(1, 2).flatten(2).aminmax(dim=1)[i][:, None] for i in (0, 1))
        weight, bias = scene.attention.to_out.weight, scene.attention.to_out.bias
        attended = torch.linalg.solve(weight, (scene.output - bias).mT).mT
        assert bool((attended >= low - 1e-9).all())
        assert bool((attended <= high + 1e-9).all())


def test_a_vanishing_temperature_averages_the_styles_tokens(fused):
    for _, scene in fused(FeatureFusion(temperature=1e-9)):
        scene.expect(scene.style.v.mean(2, keepdim=True).expand_as(scene.content.q).transpose(1, 2).flatten(2), 1e-6)


def test_a_large_temperature_picks_the_styles_best_token(fused):
    for _, scene in fused(FeatureFusion(alpha=1, beta=0, temperature=1e9)):
        best = (scene.content.q @ scene.style.k.mT).argmax(-1, keepdim=True)
        picked = scene.style.v.gather(2, best.expand(-1, -1, -1, scene.style.v.shape[-1]))
        scene.expect(picked.transpose(1, 2).flatten(2))


def test_the_ablation_is_the_unpatched_attention(model, fused, running, content):
    plain = look(model, running, content.trajectory.sigmas[STEP : STEP + 1])
    for name, scene in fused(StandardAttention()):
        assert torch.equal(scene.output, plain[name].output)


@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 0.4), (1.0, 1.0), (0.0, 0.0), (float("nan"), 0.2)])
def test_alpha_and_beta_that_do_not_sum_to_one_are_refused(alpha, beta):
    with pytest.raises(ValueError, match=r"must sum to 1\. Set beta to"):
        FeatureFusion(alpha, beta)


def test_dials_that_extrapolate_are_allowed():
    assert FeatureFusion(1.2, -0.2).alpha == 1.2


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_of_zero_or_less_is_refused(temperature):
    with pytest.raises(ValueError, match="above 0.*neutral value is 1"):
        FeatureFusion(temperature=temperature)


@pytest.mark.parametrize("option", [{"keys": "both"}, {"queries": "content"}])
def test_unknown_options_name_the_known_ones(option):
    with pytest.raises(ValueError, match="must be one of (style, content.style|matched, stored, live)"):
        FeatureFusion(**option)


def test_rules_and_patches_cannot_be_changed(content, style, model):
    rule = FeatureFusion()
    with pytest.raises(FrozenInstanceError):
        rule.alpha = 1
    with pytest.raises(FrozenInstanceError):
        fusion(model, rule, content, style).strength = 0
    assert replace(rule, alpha=1, beta=0).alpha == 1


@pytest.mark.parametrize(("strength", "rows"), [(1.0, 1), (0.25, 2), (1.5, 2)])
def test_full_strength_adds_no_branch_and_any_other_adds_the_live_one(model, content, style, running, strength, rows):
    seen = []

    def spy(inputs, call):
        seen.append(len(inputs.query))
        return inputs

    patch = fusion(model, FeatureFusion(), content, style, strength=strength)
    model.patched(patch, spy)(running, content.trajectory.sigmas[STEP : STEP + 1])
    assert seen == [rows] * 7


def test_strength_is_shared_between_the_rule_and_the_live_branch():
    live = AttentionInputs(*gaussian((3, 1, 2, 4), 1))
    branches = [Branch(AttentionInputs(*gaussian((3, 1, 2, 4), 2)))]
    (rule, plain) = with_strength(branches, live, 0.25)
    assert (rule.weight, plain.weight) == (0.25, 0.75)
    assert plain.inputs is live


# Without a content


@pytest.mark.parametrize("temperature", [1.0, 1.5])
@pytest.mark.parametrize("alpha", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("queries", get_args(Queries))
@pytest.mark.parametrize("keys", ["style", "live+style"])
def test_without_a_content_the_running_image_asks_in_its_place(
    model, content, style, running, keys, queries, alpha, temperature
):
    rule = FeatureFusion(alpha, 1 - alpha, keys, queries, temperature)
    patched = model.patched(fusion(model, rule, None, style))
    for name, (attention, live, _, stored, output) in scenes(patched, running, content, style, STEP):
        query = alpha * live.q
        if queries == "matched" and alpha < 1:
            seen = look(patched, running, style.trajectory.sigmas[STEP : STEP + 1])[name].live
            kept = feature(style, STEP, name, like=seen)
            relaid = project(attention, relay(kept, Feature(seen, kept.grid)))
            query = query + (1 - alpha) * relaid.q
        elif alpha < 1:
            query = query + (1 - alpha) * (stored.q if queries == "stored" else live.q)
        k, v = (stored.k, stored.v) if keys == "style" else (both(live.k, stored.k), both(live.v, stored.v))
        assert_close(output, attention.to_out(attend(query, k, v, temperature)))


def test_methods_whose_keys_are_the_contents_need_it():
    for keys, queries, alpha in itertools.product(get_args(Keys), get_args(Queries), (0.0, 0.5)):
        rule = FeatureFusion(alpha, 1 - alpha, keys, queries)
        assert ("content" in rule.needs) == (keys in ("content", "content+style"))
        assert rule.needs <= rule.reads
        assert "live" not in rule.needs


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (12, 4)])
def test_without_a_content_any_size_is_fused(model, style, size):
    patch = fusion(model, FeatureFusion(0.6, 0.4, queries="matched"), None, style)
    x, sigma = smooth_latent(*size, seed=3), style.trajectory.sigmas[STEP : STEP + 1]
    fused = model.patched(patch)(x, sigma)
    assert fused.shape == x.shape
    assert relative(fused, model(x, sigma)) > 1e-3


def test_without_a_content_the_style_says_where_on_the_way_it_is(model, style):
    """Stages of a method follow the way of the first bank that there is."""
    patch = fusion(model, FeatureFusion(), None, style)
    for step, sigma in enumerate(style.trajectory.sigmas.flip(0).tolist()[:-1]):
        assert patch.moment_at(sigma) == Moment(step, 4)
