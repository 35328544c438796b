"""Attention of related methods, from their own formulas, under the settings that stand for it here (law 5).

Each formula reads projections of the running image (live), the content and the style, as in the paper.
"""

import pytest
import torch
from denoisers import fusion, smooth_latent
from formulas import scenes

from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.rules import Stages, StandardAttention, Sum

STEP = 3


@pytest.fixture
def layers(model, content, style):
    """Layers of the model under a rule, at a latent that has left the content's trajectory."""
    running = content.trajectory.latents[STEP] + smooth_latent(8, 8, seed=31)

    def evaluate(rule):
        patched = model.patched(fusion(model, rule, content, style))
        return [scene for _, scene in scenes(patched, running, content, style, STEP)]

    return evaluate


def test_masactrl_union_and_style_aligned_without_adain(layers):
    """arXiv 2304.08465, 2312.02133: the running image reads itself and the reference in one softmax."""
    for scene in layers(FeatureFusion(alpha=0, beta=1, keys="live+style", queries="live")):
        logits = torch.cat([scene.live.q @ scene.style.k.mT, scene.live.q @ scene.live.k.mT], -1)
        probabilities = torch.softmax(logits / scene.live.q.shape[-1] ** 0.5, -1)
        tokens = scene.style.k.shape[2]
        out = probabilities[..., :tokens] @ scene.style.v + probabilities[..., tokens:] @ scene.live.v
        scene.expect(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0,), ()])
def test_a_sum_without_a_weight_for_every_rule_is_refused(weights):
    with pytest.raises(ValueError, match="sum to 1"):
        Sum((FeatureFusion(), StandardAttention()), weights)


def test_a_sum_reads_what_its_rules_read():
    assert Sum((StandardAttention(), StandardAttention()), (0.5, 0.5)).reads == {"live"}
    assert Sum((FeatureFusion(0, 1, queries="live"), FeatureFusion()), (0.5, 0.5)).reads == {"content", "style"}


def test_rules_made_of_rules_need_what_any_of_theirs_needs():
    free, bound = FeatureFusion(), FeatureFusion(keys="content+style")
    for make in (lambda *rules: Sum(rules, (0.5, 0.5)), lambda *rules: Stages(rules[0], 0.5, rules[1])):
        assert make(free, free).needs == {"style"}
        assert make(free, bound).needs == {"content", "style"}
        assert make(StandardAttention(), StandardAttention()).needs == set()
