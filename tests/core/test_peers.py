"""Attention of related methods, from their own formulas, under the settings that stand for it here (law 5).

Each formula reads projections of the running image (live), the content and the style, as in the paper.
"""

import pytest
import torch
from denoisers import select, smooth_latent
from formulas import attend, scenes

from magicstyle_core.attention import FusionPatch
from magicstyle_core.fusion import FeatureFusion
from magicstyle_core.rules import CrossImage, StandardAttention, Sum

STEP = 3


@pytest.fixture
def layers(model, content, style):
    """Layers of the model under a rule, at a latent that has left the content's trajectory."""
    running = content.trajectory.latents[STEP] + smooth_latent(8, 8, seed=31)

    def evaluate(rule):
        patched = model.patched(FusionPatch(rule, content, style, select(model)))
        return [scene for _, scene in scenes(patched, running, content, style, STEP)]

    return evaluate


@pytest.mark.parametrize(("gamma", "temperature"), [(0.75, 1.5), (0.3, 1.5), (1.0, 1.0), (0.0, 1.0)])
def test_styleid(layers, gamma, temperature):
    """arXiv 2312.09008: the query keeps gamma of the content, scaled logits, style keys and values."""
    for scene in layers(FeatureFusion(gamma, 1 - gamma, queries="live", temperature=temperature)):
        preserved = gamma * scene.content.q + (1 - gamma) * scene.live.q
        scene.expect(attend(temperature * preserved, scene.style.k, scene.style.v))


def test_portrait_diffusion_before_its_style_attention_step(layers):
    """arXiv 2312.02212: the content's queries read the style."""
    for scene in layers(FeatureFusion(alpha=1, beta=0)):
        scene.expect(attend(scene.content.q, scene.style.k, scene.style.v))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 1.2, 1.5])
def test_portrait_diffusion_after_its_style_attention_step(layers, guidance):
    """arXiv 2312.02212: extrapolated from the content's queries to the running image's."""
    rules = FeatureFusion(alpha=1, beta=0), FeatureFusion(alpha=0, beta=1, queries="live")
    for scene in layers(Sum(rules, (1 - guidance, guidance))):
        of_content = attend(scene.content.q, scene.style.k, scene.style.v)
        of_target = attend(scene.live.q, scene.style.k, scene.style.v)
        scene.expect(of_content + guidance * (of_target - of_content))


def test_masactrl_and_visual_style_prompting(layers):
    """arXiv 2304.08465, 2402.12974: the running image's queries read the source's keys and values."""
    for scene in layers(FeatureFusion(alpha=0, beta=1, queries="live")):
        scene.expect(attend(scene.live.q, scene.style.k, scene.style.v))


def test_masactrl_union_and_style_aligned_without_adain(layers):
    """arXiv 2304.08465, 2312.02133: the running image reads itself and the reference in one softmax."""
    for scene in layers(FeatureFusion(alpha=0, beta=1, keys="live+style", queries="live")):
        logits = torch.cat([scene.live.q @ scene.style.k.mT, scene.live.q @ scene.live.k.mT], -1)
        probabilities = torch.softmax(logits / scene.live.q.shape[-1] ** 0.5, -1)
        tokens = scene.style.k.shape[2]
        out = probabilities[..., :tokens] @ scene.style.v + probabilities[..., tokens:] @ scene.live.v
        scene.expect(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("contrast", [1.0, 1.67, 0.5])
def test_cross_image_attention(layers, contrast):
    """arXiv 2311.03335: every weight of the style's tokens is moved away from their mean, and clipped."""
    for scene in layers(CrossImage(contrast, structure_until=0)):
        probabilities = torch.softmax(scene.live.q @ scene.style.k.mT / scene.live.q.shape[-1] ** 0.5, -1)
        contrasted = contrast * (probabilities - probabilities.mean(-1, keepdim=True))
        out = (contrasted + probabilities.mean(-1, keepdim=True)).clip(0, 1) @ scene.style.v
        scene.expect(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("mix", [1.0, 0.7])
def test_zepo_with_guidance_one(layers, mix):
    """arXiv 2408.05492: a query between live and content reads content and style in one softmax."""
    for scene in layers(FeatureFusion(1 - mix, mix, keys="content+style", queries="live")):
        q = mix * scene.live.q + (1 - mix) * scene.content.q
        # One softmax is two attentions weighed by the mass of their logits.
        scale = q.shape[-1] ** 0.5
        mass = [
            torch.logsumexp(q @ picture.k.mT / scale, -1, keepdim=True)
            for picture in (scene.content, scene.style)
        ]
        share = torch.sigmoid(mass[1] - mass[0])
        out = [
            torch.softmax(q @ picture.k.mT / scale, -1) @ picture.v
            for picture in (scene.content, scene.style)
        ]
        scene.expect(((1 - share) * out[0] + share * out[1]).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_sum_of_two_attentions(layers, share):
    """The reading of the paper in which content and style are attended to separately."""
    rules = FeatureFusion(keys="content"), FeatureFusion(keys="style")
    for scene in layers(Sum(rules, (1 - share, share))):
        q = 0.8 * scene.content.q + 0.2 * scene.style.q
        of_content = attend(q, scene.content.k, scene.content.v)
        scene.expect((1 - share) * of_content + share * attend(q, scene.style.k, scene.style.v))


def test_the_ablation_without_fused_attention(layers):
    for scene in layers(StandardAttention()):
        scene.expect(attend(*scene.live))


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0,), ()])
def test_a_sum_without_a_weight_for_every_rule_is_refused(weights):
    with pytest.raises(ValueError, match="sum to 1"):
        Sum((FeatureFusion(), StandardAttention()), weights)


def test_a_sum_reads_what_its_rules_read():
    assert Sum((StandardAttention(), StandardAttention()), (0.5, 0.5)).reads == {"live"}
    assert Sum((FeatureFusion(0, 1, queries="live"), FeatureFusion()), (0.5, 0.5)).reads == {"content", "style"}
