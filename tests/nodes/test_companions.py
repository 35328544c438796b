"""Every node of the host that patches the same network acts beside FFA, and FFA beside it, or one of them says no."""

import pytest
import torch
from companions import LEAST, SHARE, Companion, Effects, StandIn, four, patch, record
from graphs import error_of, full, node
from graphs import model as loader
from thin_models import SD15, build, fill

import comfy.cldm.cldm
import comfy.controlnet
import folder_paths
import nodes
from comfy.utils import save_torch_file

ATTENTION, CONVOLUTION = "attention.safetensors", "convolution.safetensors"


class ThinControlNet(StandIn):
    """A random ControlNet of the thin layout."""

    RETURN_TYPES = ("CONTROL_NET",)

    def run(self):
        config = {key: value for key, value in SD15.items() if key not in ("out_channels", "transformer_depth_output")}
        network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config)
        fill(network, seed=4)
        return (comfy.controlnet.ControlNet(network, load_device=torch.device("cpu")),)


class Features(torch.nn.Module):
    """What a T2I adapter adds at the input blocks of the thin layout: something at blocks 1 and 3."""

    unshuffle_amount = 8

    def __init__(self):
        super().__init__()
        self.rise = torch.nn.ModuleList(torch.nn.Conv2d(3, width, 1) for width in (32, 64))
        fill(self, seed=5)

    def forward(self, hint):
        one, two = (torch.nn.functional.avg_pool2d(hint, scale) for scale in (8, 16))
        return {"input": [None, None, self.rise[1](two), None, self.rise[0](one), None]}  # the last comes first


class ThinT2IAdapter(StandIn):
    """A random T2I adapter."""

    RETURN_TYPES = ("CONTROL_NET",)

    def run(self):
        return (comfy.controlnet.T2IAdapter(Features(), 3, 8, "nearest-exact", torch.device("cpu")),)


class Picture(StandIn):
    RETURN_TYPES = ("IMAGE",)

    def run(self):
        return (torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(6)),)


class HalfMask(StandIn):
    """1 on the left half, rising to the right: a mask with grey values."""

    RETURN_TYPES = ("MASK",)

    def run(self):
        ramp = torch.cat([torch.ones(8), torch.linspace(1, 0.2, 8)])
        return (ramp.repeat(1, 16, 1),)


class ReferenceOnly(StandIn):
    """Another pack's reference patch: self-attention also reads stored tokens. By the list of patches, or in the one
    place for a replacement of a layer's attention."""

    RETURN_TYPES = ("MODEL",)
    INPUTS = {"model": ("MODEL",), "replaces": ("BOOLEAN", {"default": False})}  # noqa: RUF012

    def run(self, model, replaces):
        model = model.clone()

        def tokens(like):
            generator = torch.Generator().manual_seed(7)
            return torch.randn(1, 9, like.shape[2], generator=generator).expand(len(like), -1, -1)

        def read_too(n, context, value, extra_options):
            return n, torch.cat([context, tokens(context)], 1), torch.cat([value, tokens(value)], 1)

        def replaced(q, k, v, extra_options):
            assert k.shape == q.shape  # what such packs count on
            attention = comfy.ldm.modules.attention.optimized_attention
            return attention(q, torch.cat([k, tokens(k)], 1), torch.cat([v, tokens(v)], 1), extra_options["n_heads"])

        if replaces:
            model.set_model_attn1_replace(replaced, "output", 3, 0)
        else:
            model.set_model_attn1_patch(read_too)
        return (model,)


STAND_INS = {
    "TestControlNet": ThinControlNet,
    "TestT2IAdapter": ThinT2IAdapter,
    "TestPicture": Picture,
    "TestHalfMask": HalfMask,
    "TestReferenceOnly": ReferenceOnly,
}


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch, host):
    for name, made in STAND_INS.items():
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, name, made)
    folder = folder_paths.get_folder_paths("loras")[-1]
    for name, part in ((ATTENTION, "attn1.to_"), (CONVOLUTION, "in_layers.2")):
        save_torch_file(lora(part), f"{folder}/{name}")


def lora(part, rank=2):
    """A random LoRA of every weight whose name holds ``part``, as files hold it."""
    generator, found = torch.Generator().manual_seed(9), {}
    for key, weight in build().model.diffusion_model.state_dict().items():
        if part in key and key.endswith("weight"):
            name = f"diffusion_model.{key.removesuffix('.weight')}"
            down, up = (rank, *weight.shape[1:]), (weight.shape[0], rank, *(1,) * (weight.ndim - 2))
            found[f"{name}.lora_down.weight"] = 0.2 * torch.randn(down, generator=generator)
            found[f"{name}.lora_up.weight"] = 0.2 * torch.randn(up, generator=generator)
    assert found
    return found


def controlled(net):
    return lambda positive: node(
        "ControlNetApplyAdvanced", positive=positive, negative=["other text", 0], control_net=["net", 0],
        image=["picture", 0], strength=1.0, start_percent=0.0, end_percent=1.0,
    )  # fmt: skip


def hint(kind):
    return {"net": node(kind), "picture": node("TestPicture")}


MASK = {"mask": node("TestHalfMask")}
THIRD = {"third text": node("TestPrompt", seed=3, tokens=77, width=64)}
MASKED = {"masked": node(
    "ConditioningSetMask", conditioning=["third text", 0], mask=["mask", 0], strength=1.0, set_cond_area="default"
)}  # fmt: skip
OTHER_SIZE = {"style": {"height": 12, "width": 20}}
PAG = patch("PerturbedAttentionGuidance", scale=3.0)
SAG = patch("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0)
HYPERTILE = patch("HyperTile", tile_size=64, swap_size=1, max_depth=0, scale_depth=False)
TOME = patch("TomePatchModel", ratio=0.5)
REFERENCE = patch("TestReferenceOnly", replaces=False)
NAG = patch("NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
REFERENCE_REPLACED = patch("TestReferenceOnly", replaces=True)
SKIPPING = {"reuse_threshold": 0.9, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
EIGHT_STEPS = {"steps": 8}
ON_SDXL = {"loader": loader("SDXL")}
TILED = "merges or tiles tokens"

COMPANIONS = [
    Companion("LoRA of attention", patch("LoraLoaderModelOnly", lora_name=ATTENTION, strength_model=1.0)),
    Companion("LoRA of convolutions", patch("LoraLoaderModelOnly", lora_name=CONVOLUTION, strength_model=1.0)),
    Companion(
        "LoRA through hooks on one conditioning",
        positive=lambda link: node("ConditioningSetProperties", cond_NEW=link, strength=1.0, set_cond_area="default",
                                   hooks=["hook", 0]),
        needs={"hook": node("CreateHookLora", lora_name=ATTENTION, strength_model=1.0, strength_clip=0.0)},
    ),
    Companion("ControlNet", positive=controlled("net"), needs=hint("TestControlNet")),
    Companion("T2I adapter", positive=controlled("net"), needs=hint("TestT2IAdapter")),
    Companion("Perturbed-Attention Guidance", PAG),
    Companion("Perturbed-Attention Guidance, style of another size", PAG, banks=OTHER_SIZE),
    Companion("Self-Attention Guidance", SAG),
    Companion("Self-Attention Guidance, style of another size", SAG, banks=OTHER_SIZE),
    Companion("Perturbed-Attention Guidance, SDXL", PAG, banks=ON_SDXL),
    Companion("Self-Attention Guidance, SDXL", SAG, banks=ON_SDXL),
    Companion("FreeU V2", patch("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2)),
    Companion("self-attention scaled (UNetSelfAttentionMultiply)", patch(
        "UNetSelfAttentionMultiply", q=1.5, k=1.0, v=1.0, out=1.0)),
    Companion("Normalized Attention Guidance, FFA with rows positive", NAG, fusion={"rows": "positive"}),
    Companion("Adaptive Projected Guidance", patch("APG", eta=1.0, norm_threshold=5.0, momentum=0.0), cfg=6.0),
    Companion("FreSca", patch("FreSca", scale_low=1.0, scale_high=1.25, freq_cutoff=4)),
    Companion("EasyCache", patch("EasyCache", **SKIPPING), banks=EIGHT_STEPS),
    Companion("EasyCache, storage recompute", patch("EasyCache", **SKIPPING),
              banks=EIGHT_STEPS | {"storage": "recompute"},
              refused={place: "leaves out evaluations" for place in ("before", "after")}),
    Companion("RescaleCFG", patch("RescaleCFG", multiplier=0.7), cfg=6.0),
    Companion("Differential Diffusion", patch("DifferentialDiffusion", strength=1.0), needs=MASK,
              latent=lambda link: node("SetLatentNoiseMask", samples=["content", 0], mask=["mask", 0])),
    Companion("Dual CFG Guider", guider=lambda model: node(
        "DualCFGGuider", model=model, cond1=["text", 0], cond2=["third text", 0], negative=["other text", 0],
        cfg_conds=4.0, cfg_cond2_negative=2.0, style="regular"), needs=THIRD),
    Companion("Perp-Neg Guider", guider=lambda model: node(
        "PerpNegGuider", model=model, positive=["text", 0], negative=["other text", 0],
        empty_conditioning=["third text", 0], cfg=2.0, neg_scale=1.0), needs=THIRD),
    Companion("a second conditioning with a mask", needs=MASK | THIRD | MASKED, positive=lambda link: node(
        "ConditioningCombine", conditioning_1=link, conditioning_2=["masked", 0])),
    Companion("combined conditionings", needs=THIRD, positive=lambda link: node(
        "ConditioningCombine", conditioning_1=link, conditioning_2=["third text", 0])),
    Companion("conditioning of a part of the steps", positive=lambda link: node(
        "ConditioningSetTimestepRange", conditioning=link, start=0.0, end=0.6)),
    Companion("reference-only patch", REFERENCE, places=("after",)),
    Companion("reference-only patch, FFA with keys live+style", REFERENCE, fusion={"keys": "live+style"}),
    Companion("reference-only replacement of a layer", REFERENCE_REPLACED),
    Companion("reference-only replacement of a layer, style of another size", REFERENCE_REPLACED, banks=OTHER_SIZE),
    Companion("HyperTile", HYPERTILE, refused={"before": TILED, "after": "tiles tokens (HyperTile)"}),
    Companion("ToMe", TOME, refused={"before": TILED}),
    Companion("conditioning with an area", refused={"after": "a conditioning has an area"}, positive=lambda link: node(
        "ConditioningSetArea", conditioning=link, width=64, height=64, x=0, y=0, strength=1.0)),
    Companion("Deep Shrink (PatchModelAddDownscale)", patch(
        "PatchModelAddDownscale", block_number=1, downscale_factor=2.0, start_percent=0.0, end_percent=0.7,
        downscale_after_skip=True, downscale_method="bicubic", upscale_method="bicubic"),
        refused={"before": "tokens at layer", "after": "tokens at layer"}),
]  # fmt: skip
CASES = [
    pytest.param(companion, place, id=f"{companion.name}-{place}")
    for companion in COMPANIONS
    for place in (companion.places if companion.model else ("after",))
]


@pytest.mark.parametrize(("companion", "place"), CASES)
def test_both_act_or_one_says_no(run, companion, place):
    shown = place if companion.model else "beside"
    message = companion.refused.get(place)
    if message is not None:
        with pytest.raises(AssertionError) as error:
            run(four(companion, place))
        assert message in str(error.value)
        record("Nodes", companion.name, shown, "refused", f'"{message}"')
        return
    kept = run(four(companion, place))
    effects = Effects.of(kept)
    assert effects.both_act(), effects
    record("Nodes", companion.name, shown, "both act", str(effects))


@pytest.mark.parametrize(
    ("companion", "place", "message"),
    [
        (Companion("", REFERENCE_REPLACED), "before", "replaces self-attention at output.3"),
        (Companion("", REFERENCE), "before", "takes the place of what a node before it"),
    ],
)
def test_where_one_of_both_does_not_act_the_log_says_so_once_a_run(executor, caplog, companion, place, message):
    executor.run(four(companion, place))
    told = [line for line in caplog.messages if message in line]
    assert len(told) == 1, caplog.messages  # one of the four runs has both


def test_guidance_between_the_rows_of_self_attention_needs_rows_of_its_own(executor, caplog):
    """NAG: with FFA on all rows its effect is nearly gone, and the log says what helps; then it acts."""
    effects, said = {}, {}
    for rows in ("all", "positive"):
        caplog.clear()
        kept = executor.run(four(Companion("", NAG, fusion={"rows": rows}), "after"))
        effects[rows] = Effects.of(kept)
        said[rows] = [line for line in caplog.messages if "set rows of FFA to positive" in line]
    assert effects["all"].companion_in_company < SHARE * effects["all"].companion
    assert effects["positive"].companion_in_company > SHARE * effects["positive"].companion
    assert (len(said["all"]), len(said["positive"])) == (1, 0)


def test_what_a_node_before_made_attention_read_is_not_read(run):
    kept = run(four(Companion("", REFERENCE, banks={"end_percent": 1.0}), "before"))  # features of the last step too
    effects = Effects.of(kept)
    assert effects.companion > LEAST
    assert torch.equal(kept["cf"]["samples"], kept["f"]["samples"])
    record("Nodes", "reference-only patch", "before", "FFA takes its place, and the log says so", str(effects))


@pytest.mark.parametrize("companion", [REFERENCE, PAG], ids=["reference-only", "PAG, in a pass of its own"])
def test_where_both_act_the_log_says_nothing(executor, caplog, companion):
    executor.run(four(Companion("", companion), "after"))
    assert not [line for line in caplog.messages if "FFA" in line]


def on_both(kind, **inputs):
    """The whole graph with a node on the model while inverting and while sampling."""
    graph = full() | {"changed": node(kind, model=["model", 0], **inputs)}
    for name in ("csdi", "ffa", "plain"):
        graph[name]["inputs"]["model"] = ["changed", 0]
    return graph


ON_BOTH = [
    ("ModelSamplingDiscrete, v prediction", "ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": False}),
    ("ModelSamplingDiscrete, zero terminal SNR", "ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": True}),
    ("Deep Shrink (PatchModelAddDownscale)", "PatchModelAddDownscale", {
        "block_number": 1, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 0.7,
        "downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic"}),
    ("LoRA of attention", "LoraLoaderModelOnly", {"lora_name": ATTENTION, "strength_model": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "inputs"), ON_BOTH, ids=[name for name, _, _ in ON_BOTH])
def test_a_node_on_the_model_while_inverting_and_while_sampling(run, name, kind, inputs):
    without, kept = run(full()), run(on_both(kind, **inputs))
    effects = Effects(
        error_of(kept["plain"], kept["content"]),
        error_of(kept["result"], without["result"]),
        error_of(without["result"], without["plain"]),
        error_of(kept["result"], kept["plain"]),
    )
    assert effects.companion < 1e-3  # the portrait comes back
    assert effects.companion_in_company > LEAST
    assert effects.fusion_in_company > SHARE * effects.fusion
    back, beside = effects.companion, (effects.companion_in_company, effects.fusion, effects.fusion_in_company)
    node_too, fusion, fusion_too = (f"{100 * number:.2g} %" for number in beside)
    measured = f"portrait back to {back:.0e}; node with FFA {node_too}; FFA {fusion}, with the node {fusion_too}"
    record("Nodes", name, "inverting and sampling", "both act", measured)
