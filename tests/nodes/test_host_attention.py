"""The host's protocol of attention patches as nodes/host/attention.py reads it: roles, layers, grids, overrides."""

from types import SimpleNamespace

import pytest
import torch

from magicstyle_core.schedule import SigmaWindow

ROWS, TOKENS, CHANNELS, HEADS = 4, 6, 8, 2
KEY = ("output", 3, 0)


@pytest.fixture
def attention(pack):
    return pack("nodes.host.attention")


@pytest.fixture
def core(pack):
    return pack("magicstyle_core.fusion.attention")


def hidden(seed=0, rows=ROWS):
    return torch.randn(rows, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(seed))


def options_of(attention, forward, block=("output", 3), grid=(2, 3), rows=ROWS, **more):
    """What the host tells a patch at a layer: two images under two conditionings."""
    return {
        "block": block, "block_index": 0, "activations_shape": [rows, CHANNELS, *grid], "cond_or_uncond": [0, 1],
        attention.PASS: forward, **more,
    }  # fmt: skip


class Roles:
    """Two images under conditionings; which chunks are fused by a patch of positive rows alone."""

    def __init__(self, attention, core, pack):
        layers, rules = pack("magicstyle_core.layers"), pack("magicstyle_core.fusion.rules")
        self.attention, self.key = attention, layers.LayerKey(*KEY)
        layer = layers.AttentionLayer(self.key, CHANNELS, 1)
        self.patch = core.FusionPatch(rules.StandardAttention(), {}, layers.LayerSelection((layer,)), rows="positive")
        moment = pack("magicstyle_core.fusion.base").Moment(0, 4)
        self.acting = core.Acting(0.5, moment, {}, True)

    def fused(self, indices, uuids, roles):
        """By chunk, in the order of the batch."""
        hook = self.attention.Hook(self.patch)
        options = {"cond_or_uncond": indices, "uuids": uuids, "patches": {"attn1_patch": [hook]}}
        evaluation = self.attention.Evaluation(1.0, roles, {self.patch: self.acting})
        options = self.attention.forward_pass(options, evaluation)
        n = hidden(rows=2 * len(indices))
        told = {"block": KEY[:2], "block_index": 0, "activations_shape": [len(n), CHANNELS, 2, 3], **options}
        query, _, _ = hook(n, n, n, told)
        if len(query) == len(n):
            return [False] * len(indices)
        weights = options[self.attention.PASS].pending._stack.parts[0].weight
        if not isinstance(weights, torch.Tensor):
            return [True] * len(indices)
        return [bool(weight) for weight in weights.flatten()[::2]]


@pytest.fixture
def roles(attention, core, pack):
    return Roles(attention, core, pack)


KNOWN = {"a": "positive", "b": "negative"}


@pytest.mark.parametrize(
    ("indices", "uuids", "expected"),
    [
        ([0, 1], ["a", "b"], [True, False]),
        ([1, 0], ["b", "a"], [False, True]),
        ([0], ["a"], [True]),
        ([0], ["b"], [False]),  # apart, and as number 0 of its call, as guidance by perturbed attention asks
        ([1], ["a"], [True]),
        ([0, 0, 1], ["a", "c", "b"], [True, True, False]),  # an area or a second prompt
        ([0, 1], ["c", "d"], [True, True]),  # unknown ones count as positive
        ([0], None, [True]),  # of a host that gives none
        ([0, 1], None, [True, False]),
        ([0, 1], ["a", "a"], [True, False]),  # a copy that fills an area: told by its index
        ([1, 0], ["a", "a"], [False, True]),
        ([0, 1], ["b", "b"], [True, False]),
        ([0, 0], ["b", "b"], [False, False]),  # windows of one conditioning share index and uuid
        ([0, 2], ["a", "a"], [True, False]),
    ],
    ids=str,
)
def test_roles_are_told_by_uuid_and_where_that_is_shared_by_index(roles, indices, uuids, expected):
    assert roles.fused(indices, uuids, KNOWN) == expected


def test_uuids_of_another_run_mean_nothing(roles):
    assert roles.fused([0, 1], ["a", "b"], {}) == [True, True]


def test_a_call_has_the_hosts_address_grid_and_images(attention, core, pack):
    forward = core.ForwardPass(1.0)
    call = attention.layer_call(hidden(), options_of(attention, forward))
    assert call == core.LayerCall(pack("magicstyle_core.layers").LayerKey(*KEY), (2, 3), 2, forward)
    whole = torch.arange(10.0)
    window = SimpleNamespace(dim=0, total_frames=10, get_tensor=lambda tensor, dim: tensor[4:6])
    call = attention.layer_call(hidden(), options_of(attention, forward, context_window=window))
    assert (call.images, call.batch, call.window(whole).tolist()) == (2, 10, [4, 5])
    window.dim = 2  # windows over frames of one video, not over a batch
    assert attention.layer_call(hidden(), options_of(attention, forward, context_window=window)).batch is None


@pytest.mark.parametrize("tokens", [3, 12])
def test_merged_and_tiled_tokens_are_refused(attention, core, tokens):
    n = torch.zeros(ROWS, tokens, CHANNELS)
    message = rf"Layer output\.3\.0 has {tokens} tokens instead of 2x3: another node merges or tiles.*ToMe, HyperTile"
    with pytest.raises(ValueError, match=message):
        attention.layer_call(n, options_of(attention, core.ForwardPass(1.0)))


def fusing(attention, core, pack, strength=1.0, **options):
    """A hook that reads the running image backwards, and the options of a pass in which it acts."""
    base, layers = pack("magicstyle_core.fusion.base"), pack("magicstyle_core.layers")

    class Backwards(base.FusionRule):
        reads = frozenset({"live"})

        def __call__(self, live, stored, moment):
            return [base.Branch(base.AttentionInputs(live.query.flip(1), live.key, live.value))]

    key = layers.LayerKey(*KEY)
    selection = layers.LayerSelection((layers.AttentionLayer(key, CHANNELS, 1),))
    patch = core.FusionPatch(Backwards(), {}, selection)
    hook = attention.Hook(patch)
    options = {"cond_or_uncond": [0, 1], "uuids": ["a", "b"], "patches": {"attn1_patch": [hook]}, **options}
    acting = {patch: core.Acting(strength, base.Moment(0, 4), {}, True)}
    return hook, attention.forward_pass(options, attention.Evaluation(1.0, KNOWN, acting))


@pytest.mark.parametrize(("replaced", "acts"), [
    ({}, True),
    ({("output", 3, 0): None}, False),
    ({("output", 3): None}, False),
    ({("output", 3, 1): None}, True),
    ({("middle", 0, 0): None}, True),
])  # fmt: skip
def test_layers_that_another_node_replaces_are_left_to_it(attention, core, pack, replaced, acts):
    hook, options = fusing(attention, core, pack, patches_replace={"attn1": replaced})
    n = hidden()
    query, key, value = hook(n, n, n, {**options_of(attention, options[attention.PASS]), **options})
    assert (query is not n) == acts
    assert key is n
    assert value is n


def plain(q, k, v, heads, mask=None):
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_attention_that_another_node_wants_to_be_run_is_run(attention, core, pack, strength):
    """For every attention of a stack; without fusion the options are as they were."""
    calls = []

    def theirs(func, q, k, v, heads, mask=None):
        calls.append(mask)
        return 2 * func(q, k, v, heads, mask=mask)

    hook, options = fusing(attention, core, pack, strength, optimized_attention_override=theirs)
    n = hidden()
    inputs = hook(n, n, n, {**options_of(attention, options[attention.PASS]), **options})
    out = options[attention.OVERRIDE](plain, *inputs, HEADS, mask=None)
    expected = 2 * (strength * plain(n.flip(1), n, n, HEADS) + (1 - strength) * plain(n, n, n, HEADS))
    assert torch.allclose(out, expected, atol=1e-6)
    assert len(calls) == (1 if strength == 1 else 2)
    options[attention.PASS].pending.check_all_used()


def test_a_pass_without_acting_patches_keeps_the_hosts_own_function(attention, core, pack):
    hook, _ = fusing(attention, core, pack)
    override = object()
    options = {"cond_or_uncond": [0], "uuids": ["a"], "patches": {"attn1_patch": [hook]}, attention.OVERRIDE: override}
    given = dict(options)
    made = attention.forward_pass(options, attention.Evaluation(1.0, KNOWN, {hook.patch: None}))
    assert made[attention.OVERRIDE] is override
    assert options == given
    n = hidden()
    assert hook(n, n, n, {**options_of(attention, made[attention.PASS])})[0] is n


def test_an_evaluation_outside_of_a_sampler_reads_the_sigma_of_the_host(attention, core, pack):
    """Every patch then decides for itself, by its own part of the way."""
    rule = pack("magicstyle_core.fusion.rules").StandardAttention()
    layers = pack("magicstyle_core.layers").LayerSelection(())
    never, hooks = SigmaWindow(0.0, 0.0), []
    bank = SimpleNamespace(trajectory=SimpleNamespace(steps=4), step_at=lambda sigma: 3)
    for window in (never, SigmaWindow()):
        hooks.append(attention.Hook(core.FusionPatch(rule, {"style": bank}, layers, window=window)))
    options = {"cond_or_uncond": [0], "sigmas": torch.tensor([2.5]), "patches": {"attn1_patch": hooks}}
    forward = attention.forward_pass(options, None)[attention.PASS]
    assert forward.sigma == 2.5
    assert list(forward.acting) == [hooks[1].patch]
    assert list(forward.roles) == ["positive"]


def test_only_our_own_patches_are_found(attention, core):
    hook, other = (
        attention.Hook(core.LendingPatch((), {})),
        lambda n, context, value, extra_options: (n, context, value),
    )
    options = {"patches": {"attn1_patch": [other, hook], "attn2_patch": [hook]}}
    assert attention.hooks(options) == [hook]
    assert attention.fusion_patches(options) == []
    assert attention.hooks({}) == []
