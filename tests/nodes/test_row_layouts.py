"""Which rows are fused, however the host lays out conditionings: told from the prompt that each row really carries."""

import pytest
import torch
from comfyui_version import __version__
from companions import record
from graphs import ddim, error_of, full, keep, node

import comfy.model_management
import nodes
from comfy.patcher_extension import WrappersMP

POSITIVE, OTHER, NEGATIVE = 1, 2, 3  # seeds of prompts


def first_number(seed):
    """The first number of a prompt's context: its name, where contexts of all rows are in one tensor."""
    return float(torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(seed))[0, 0, 0])


NAMES = {seed: first_number(seed) for seed in (POSITIVE, OTHER, NEGATIVE)}


def prompt_of(number):
    (seed,) = (seed for seed, first in NAMES.items() if abs(first - number) < 1e-5)
    return seed


class Spy:
    """After FFA: for every evaluation the prompt of each row, and whether the row is fused at the first layer."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"
    seen = None  # of the test that runs

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",)}}

    @classmethod
    def IS_CHANGED(cls, **inputs):  # noqa: N802
        return float("nan")

    def run(self, model):
        model, rows = model.clone(), {}

        def prompts(executor, *args, **kwargs):
            rows["prompts"] = [prompt_of(first) for first in args[2][:, 0, 0].tolist()]
            return executor(*args, **kwargs)

        def before(n, context, value, extra_options):
            rows["before"] = n
            return n, context, value

        def after(n, context, value, extra_options):
            if extra_options["block"] == ("input", 1):
                count, stack = len(rows["before"]), extra_options["magicstyle_pass"].pending._stack
                if stack is None:
                    fused = [n is not rows["before"]] * count
                else:
                    fused = [bool(weight) for weight in stack.parts[0].weight.flatten().tolist()]
                self.seen.append(list(zip(rows["prompts"], fused, strict=True)))
            return n, context, value

        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "spy", prompts)
        model.set_model_attn1_patch(after)
        patches = model.model_options["transformer_options"]["patches"]["attn1_patch"]
        patches.insert(0, before)
        return (model,)


@pytest.fixture
def evaluations(run, monkeypatch):
    """Runs a graph: the prompts and fusions of the rows of every evaluation of the fused sampler."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestSpy", Spy)

    def evaluate(graph):
        monkeypatch.setattr(Spy, "seen", [])
        kept = run(graph)
        return Spy.seen, kept

    return evaluate


def layout(rows="positive", cfg=3.0, tokens=77, changes=(), **csdi_changes):
    """Two portraits under guidance; ``changes`` are more nodes, of which "chosen" is the positive conditioning."""
    every = {"end_percent": 1.0, **csdi_changes}  # features of the last step too
    graph = full(content={"batch": 2}, ffa_changes={"rows": rows}, fff_changes={"cfg": cfg}, **every) | {
        "positive": node("TestPrompt", seed=POSITIVE, tokens=tokens, width=64),
        "other": node("TestPrompt", seed=OTHER, tokens=77, width=64),
        "negative": node("TestPrompt", seed=NEGATIVE, tokens=77, width=64),
        "spy": node("TestSpy", model=["ffa", 0]),
    }
    graph |= dict(changes)
    chosen = "chosen" if "chosen" in graph else "positive"
    graph["fff"]["inputs"] |= {"model": ["spy", 0], "positive": [chosen, 0], "negative": ["negative", 0]}
    del graph["plain"], graph["keep plain"]
    return graph


COMBINED = {"chosen": node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["other", 0])}
MASKED = {
    "mask": node("SolidMask", value=0.5, width=128, height=128),
    "masked": node("ConditioningSetMask", conditioning=["positive", 0], mask=["mask", 0], strength=1.0,
                   set_cond_area="default"),
    "chosen": node("ConditioningCombine", conditioning_1=["masked", 0], conditioning_2=["other", 0]),
}  # fmt: skip
LATE = {"chosen": node("ConditioningSetTimestepRange", conditioning=["positive", 0], start=0.5, end=1.0)}
LAYOUTS = {  # name: graph's options, rows of an evaluation (those that occur)
    "one positive, one negative": ({}, {4}),
    "cfg 1": ({"cfg": 1.0}, {2}),
    "two positive": ({"changes": COMBINED}, {6}),
    "a positive with a mask beside another": ({"changes": MASKED}, {6}),
    "154 and 77 tokens": ({"tokens": 154}, {4}),
    "385 and 77 tokens": ({"tokens": 385}, {2}),
    "a positive for a part of the steps": ({"changes": LATE}, {2, 4}),
}


@pytest.mark.parametrize("rows", ["positive", "all"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_fused_by_the_prompt_that_they_carry(evaluations, name, rows):
    options, sizes = LAYOUTS[name]
    seen, _ = evaluations(layout(rows, **options))
    assert {len(evaluation) for evaluation in seen} == sizes
    for evaluation in seen:
        for prompt, fused in evaluation:
            assert fused == (rows == "all" or prompt != NEGATIVE), evaluation


@pytest.mark.parametrize("rows", ["positive", "all"])
def test_little_memory_splits_positive_and_negative(evaluations, monkeypatch, rows):
    def little(device=None, torch_free_too=False):
        return (1, 1) if torch_free_too else 1

    monkeypatch.setattr(comfy.model_management, "get_free_memory", little)
    seen, _ = evaluations(layout(rows, storage="disk"))
    assert {len(evaluation) for evaluation in seen} == {2}
    assert {prompt for evaluation in seen for prompt, _ in evaluation} == {POSITIVE, NEGATIVE}
    for evaluation in seen:
        assert {fused == (rows == "all" or prompt != NEGATIVE) for prompt, fused in evaluation} == {True}


def with_guider(guider, source="ffa", **more):
    graph = layout() | more | {
        "guider": guider,
        "quiet": node("DisableNoise"),
        "sampler": ddim(False, False, detail=0.0, color="none"),
        "sigmas": node("MagicStyle_Sigmas", bank=["csdi", 0]),
        "sampled": node(
            "SamplerCustomAdvanced", noise=["quiet", 0], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["sigmas", 0], latent_image=["csdi", 2],
        ),
        "keep sampled": keep(["sampled", 0], "sampled"),
    }  # fmt: skip
    del graph["fff"], graph["keep result"]
    return graph


def test_a_guider_with_three_conditionings(evaluations):
    """Its calls number negative, middle and positive otherwise than the usual ones; only the negative is left."""
    guider = node(
        "DualCFGGuider", model=["spy", 0], cond1=["positive", 0], cond2=["other", 0], negative=["negative", 0],
        cfg_conds=4.0, cfg_cond2_negative=2.0, style="regular",
    )  # fmt: skip
    seen, _ = evaluations(with_guider(guider))
    assert {prompt for evaluation in seen for prompt, _ in evaluation} == {POSITIVE, OTHER, NEGATIVE}
    for evaluation in seen:
        assert all(fused == (prompt != NEGATIVE) for prompt, fused in evaluation)


@pytest.mark.parametrize(
    ("kind", "inputs", "extra"),
    [
        ("PerturbedAttentionGuidance", {"scale": 3.0}, POSITIVE),
        ("SelfAttentionGuidance", {"scale": 0.5, "blur_sigma": 2.0}, NEGATIVE),
    ],
)
def test_extra_evaluations_of_guidance_know_their_roles(evaluations, kind, inputs, extra):
    """PAG evaluates the positive conditioning once more, SAG the negative, each as number 0 of its call."""
    graph = layout()
    graph["guided"] = node(kind, model=["spy", 0], **inputs)
    graph["fff"]["inputs"]["model"] = ["guided", 0]
    seen, _ = evaluations(graph)
    alone = [evaluation for evaluation in seen if len(evaluation) == 2]
    assert alone
    assert {prompt for evaluation in alone for prompt, _ in evaluation} == {extra}
    for evaluation in seen:
        assert all(fused == (prompt != NEGATIVE) for prompt, fused in evaluation)


def test_negative_prompts_act_beside_fusion(run):
    """Another negative prompt gives another picture, by all rows and by positive rows."""
    for rows in ("all", "positive"):
        graph = full(ffa_changes={"rows": rows}, fff_changes={"cfg": 5.0}) | {
            "positive": node("TestPrompt", seed=POSITIVE, tokens=77, width=64),
            "negative": node("TestPrompt", seed=NEGATIVE, tokens=77, width=64),
        }
        graph["fff"]["inputs"] |= {"positive": ["positive", 0], "negative": ["negative", 0]}
        one = run(graph)["result"]
        graph["negative"]["inputs"]["seed"] = OTHER
        assert error_of(run(graph)["result"], one) > 1e-4


def test_a_guider_with_a_model_for_each_prompt(evaluations):
    """It evaluates the negative prompt on the other model, with the patches of the first: the role is the prompt's."""
    if "DualModelGuider" not in nodes.NODE_CLASS_MAPPINGS:
        assert __version__ < "0.30"
        record("Nodes", "Dual Model CFG Guider", "beside", "not in this version")
        return
    guider = node(
        "DualModelGuider", model=["spy", 0], model_negative=["model", 0], positive=["positive", 0], cfg=3.0,
        negative=["negative", 0],
    )  # fmt: skip
    seen, _ = evaluations(with_guider(guider))
    assert {prompt for evaluation in seen for prompt, _ in evaluation} == {POSITIVE, NEGATIVE}
    for evaluation in seen:
        assert all(fused == (prompt != NEGATIVE) for prompt, fused in evaluation), evaluation
    record("Nodes", "Dual Model CFG Guider", "beside", "rows by their prompts")
