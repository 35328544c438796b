"""The result does not depend on how the host orders and splits rows (law 7)."""

from dataclasses import replace

import pytest
import torch
from denoisers import Conditioning, UNetDenoiser, assert_close, capture, feature, fusion, smooth_latent
from formulas import look

from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.bank.storage import MemoryStore
from magicstyle_core.fusion.attention import ForwardPass, LayerCall
from magicstyle_core.fusion.base import AttentionInputs
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.layers import LayerKey
from magicstyle_core.sampling.ddim import sample

FFA = FeatureFusion()
ARRANGEMENTS = ["together", "apart", "reversed"]
OPTIONS = {
    "full": {},
    "half strength": {"strength": 0.5},
    "positive rows": {"rows": "positive"},
    "positive rows at half strength": {"rows": "positive", "strength": 0.5},
}


@pytest.fixture(scope="module")
def portraits(model, sigmas):
    """Bank of three portraits."""
    return capture(model, smooth_latent(8, 8, 40, batch=3), sigmas)[0]


@pytest.fixture(scope="module")
def styles(model, sigmas):
    """Bank of three styles."""
    return capture(model, smooth_latent(8, 8, 50, batch=3), sigmas)[0]


@pytest.fixture(scope="module")
def alone(model, portraits, styles, sigmas):
    """The same portraits and styles, each inverted by itself."""
    return [
        [capture(model, image, sigmas)[0] for image in bank.trajectory.latents[0].split(1)]
        for bank in (portraits, styles)
    ]


def patch(model, content, style, rule=FFA, **options):
    return fusion(model, rule, content, style, **options)


def run(model, bank, sigmas):
    """The last two steps."""
    return sample(model, bank.trajectory.latents[2], sigmas[2:])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS[1:])
def test_conditionings_may_run_together_apart_or_the_other_way_round(
    guided, portraits, styles, sigmas, arrangement, options
):
    patched = guided.patched(patch(guided, portraits, styles, **options))
    one, other = (
        run(patched, portraits, sigmas),
        run(replace(patched, arrangement=arrangement), portraits, sigmas),
    )
    assert_close(one, other, 1e-10)  # measured 6e-15


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("many_styles", [True, False], ids=["a style each", "one style"])
def test_three_portraits_in_a_batch_equal_each_alone(
    guided, portraits, styles, style, alone, sigmas, many_styles, options
):
    chosen = styles if many_styles else style
    together = run(guided.patched(patch(guided, portraits, chosen, **options)), portraits, sigmas)
    for row, portrait, own in zip(together.split(1), *alone, strict=True):
        single = patch(guided, portrait, own if many_styles else style, **options)
        assert_close(row, run(guided.patched(single), portrait, sigmas), 1e-10)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_positive_rows_leave_the_negative_conditioning_alone(guided, content, style, sigmas, arrangement, strength):
    """Guidance is linear in the two estimates: one from the fused model, the other from the plain one."""
    x, sigma = content.trajectory.latents[-1], sigmas[:1]

    def estimate(conditioning, *patches):
        return replace(guided.patched(*patches), conditionings=(conditioning,))(x, sigma)

    positive, negative = guided.conditionings
    styled = estimate(positive, patch(guided, content, style, strength=strength))
    plain = estimate(negative)
    limited = guided.patched(patch(guided, content, style, rows="positive", strength=strength))
    expected = plain + guided.cfg * (styled - plain)
    assert_close(replace(limited, arrangement=arrangement)(x, sigma), expected, 1e-11)


def test_a_negative_conditioning_alone_is_bit_equal_to_the_unpatched_model(guided, content, style, sigmas):
    patched = replace(guided.patched(patch(guided, content, style, rows="positive")), arrangement="apart")
    batch, x = [1], content.trajectory.latents[-1]
    assert torch.equal(patched.evaluate(x, sigmas[:1], batch), guided.evaluate(x, sigmas[:1], batch))
    assert not torch.equal(patched.evaluate(x, sigmas[:1], [0]), guided.evaluate(x, sigmas[:1], [0]))


class Untouchable(MemoryStore):
    """Says what it would hold, and holds nothing."""

    def at(self, step):
        return {}


def test_a_negative_conditioning_alone_reads_no_feature(guided, content, sigmas):
    bank = FeatureBank(content.trajectory, content.model, Untouchable({}), content.layers, content.kept_for)
    patched = guided.patched(patch(guided, bank, bank, rows="positive"))
    patched.evaluate(content.trajectory.latents[-1], sigmas[:1], [1])
    with pytest.raises(KeyError):
        patched.evaluate(content.trajectory.latents[-1], sigmas[:1], [0])


@pytest.mark.parametrize("role", ["positive", "middle", ""])
def test_only_negative_rows_are_left_out(guided, content, style, sigmas, role):
    x, (positive, negative) = content.trajectory.latents[-1], guided.conditionings
    called = replace(guided, conditionings=(positive._replace(role=role), negative))
    one, other = (model.patched(patch(guided, content, style, rows="positive")) for model in (guided, called))
    assert torch.equal(one(x, sigmas[:1]), other(x, sigmas[:1]))


def test_several_positive_conditionings_are_all_styled(unet, content, style, sigmas):
    conditionings = tuple(Conditioning.random("positive", seed) for seed in (1, 2))
    model = UNetDenoiser(unet, conditionings)
    x = content.trajectory.latents[-1]
    everywhere, limited = (
        model.patched(patch(model, content, style, rows=rows))(x, sigmas[:1]) for rows in ("all", "positive")
    )
    assert torch.equal(everywhere, limited)


@pytest.mark.parametrize(("role", "arguments"), [("content", ("portraits", "style")), ("style", ("content", "styles"))])
def test_a_bank_of_another_number_of_images_is_refused(request, model, sigmas, role, arguments):
    banks = [request.getfixturevalue(name) for name in arguments]
    x = smooth_latent(8, 8, 1, batch=2)
    with pytest.raises(ValueError, match=rf"The {role} bank holds 3 images and the running batch 2\. Give one {role}"):
        model.patched(patch(model, *banks))(x, sigmas[:1].expand(2))


def test_one_portraits_bank_serves_a_batch_of_variants(model, content, style, sigmas):
    x = content.trajectory.latents[-1] + smooth_latent(8, 8, 1, batch=3)
    patched = model.patched(patch(model, content, style))
    together = patched(x, sigmas[:1].expand(3))
    alone = torch.cat([patched(row, sigmas[:1]) for row in x.split(1)])
    assert_close(together, alone, 1e-11)


def test_every_row_is_styled_with_its_own_image(guided, portraits, styles, sigmas):
    """Chunk-major: row 0 and row 3 are the first portrait."""
    patched = guided.patched(patch(guided, portraits, styles))
    seen = look(patched, portraits.trajectory.latents[-1], sigmas[:1])
    for name, layer in seen.items():
        attention = guided.unet.block(name).attn1
        content, style = (feature(bank, 4, name, like=layer.live).hidden for bank in (portraits, styles))
        expected = attention(0.8 * content + 0.2 * style, style, style).repeat(2, 1, 1)
        assert_close(layer.output, expected, 1e-11)


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_host_may_run_a_long_batch_some_images_at_a_time(model, portraits, styles, sigmas, chunks):
    """Context windows: those that run are taken out of a bank of all, in every chunk."""
    ffa, sigma = patch(model, portraits, styles), float(sigmas[0])
    key, grid, rows = ("middle", 0, 0), (4, 4), [2, 0]
    live = AttentionInputs(*[smooth_latent(4, 12, 3, batch=2 * chunks).flatten(2).mT] * 3)
    live = AttentionInputs(*[live.query[:, :16].repeat(1, 1, 12)] * 3)
    forward = ForwardPass(sigma, {ffa: ffa.at(sigma)}, ("positive",) * chunks)
    call = LayerCall(LayerKey(*key), grid, 2, forward, 3, lambda whole: whole[rows])
    seen = ffa(live, call)
    wanted = feature(styles, 4, LayerKey(*key), like=live.query).hidden[rows].repeat(chunks, 1, 1)
    assert torch.equal(seen.key, wanted)
    with pytest.raises(ValueError, match="The content bank holds 3 images and the running batch 2"):
        ffa(live, call._replace(batch=None))
