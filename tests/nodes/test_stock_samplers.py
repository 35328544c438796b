"""The patched model in the host's own samplers: features are found by sigma, whatever the sampler evaluates."""

import pytest
from companions import record
from graphs import MATCHED, csdi, error_of, ffa, full, keep, look, node

EXACT = 1e-4
STEPS = 4
ZERO = {
    "text": node("TestPrompt", seed=1, tokens=77, width=64),
    "zero": node("ConditioningZeroOut", conditioning=["text", 0]),
}


def graph_of(sampling, **changes):
    """The fused picture, the portrait (``plain``), and ``stock``: the same patched model in a node of the host's."""
    graph = full(**changes) | ZERO
    graph["fff"]["inputs"] |= look(detail=0.0, color="none")
    return graph | sampling | {"keep stock": keep(["stock", 0], "stock")}


def k_sampler(sampler, scheduler="ddim_uniform", steps=STEPS, model="ffa"):
    return {
        "stock": node(
            "KSamplerAdvanced", model=[model, 0], add_noise="disable", noise_seed=3, steps=steps, cfg=1.0,
            sampler_name=sampler, scheduler=scheduler, positive=["zero", 0], negative=["zero", 0],
            latent_image=["csdi", 2], start_at_step=0, end_at_step=10000, return_with_leftover_noise="disable",
        )
    }  # fmt: skip


def custom(sampler):
    return {
        "sampler": node("KSamplerSelect", sampler_name=sampler),
        "sigmas": node("MagicStyle_Sigmas", bank=["csdi", 0]),
        "stock": node(
            "SamplerCustom", model=["ffa", 0], add_noise=False, noise_seed=3, cfg=1.0, positive=["zero", 0],
            negative=["zero", 0], sampler=["sampler", 0], sigmas=["sigmas", 0], latent_image=["csdi", 2],
        ),
    }  # fmt: skip


def advanced(sampler):
    return custom(sampler) | {
        "quiet": node("DisableNoise"),
        "guider": node("BasicGuider", model=["ffa", 0], conditioning=["zero", 0]),
        "stock": node(
            "SamplerCustomAdvanced", noise=["quiet", 0], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["sigmas", 0], latent_image=["csdi", 2],
        ),
    }  # fmt: skip


NODES = {"KSampler (Advanced)": k_sampler, "SamplerCustom": custom, "SamplerCustomAdvanced": advanced}


@pytest.mark.parametrize("way", NODES)
@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_samplers_that_stay_on_the_schedule_give_the_fused_sampler(run, way, sampler):
    kept = run(graph_of(NODES[way](sampler)))
    distance = error_of(kept["stock"], kept["result"])
    assert distance < EXACT
    record("Samplers", sampler, way, "exact", f"{distance:.0e} from the Fused Sampler")


def unfused(graph):
    """The same graph with ``bare`` beside ``stock``: the node of the host's without our patch."""
    graph["bare"] = {**graph["stock"], "inputs": {**graph["stock"]["inputs"], "model": ["model", 0]}}
    return graph | {"keep bare": keep(["bare", 0], "bare")}


def effect_of_fusion(run, sampling, **changes):
    kept = run(unfused(graph_of(sampling, **changes)))
    return error_of(kept["stock"], kept["bare"]), error_of(kept["stock"], kept["result"])


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "dpm_2"])
@pytest.mark.parametrize("fusion", [{}, MATCHED, {"strength": 0.5}], ids=["stored", "matched", "half"])
def test_samplers_that_leave_the_schedule_are_styled_and_come_close(run, sampler, fusion):
    """dpm_2 evaluates between two steps, the others combine several evaluations into a step."""
    styled, distance = effect_of_fusion(run, custom(sampler), ffa_changes=fusion)
    on_schedule, _ = effect_of_fusion(run, custom("euler"), ffa_changes=fusion)
    assert styled > 0.5 * on_schedule
    assert distance < 0.06  # four steps of euler are that far from four of a better sampler
    measured = f"FFA {100 * styled:.2g} %, beside {100 * on_schedule:.2g} % of euler"
    record("Samplers", sampler, "SamplerCustom", "styled", measured)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde"])
def test_samplers_that_add_noise_are_styled_and_lose_the_portrait(run, sampler):
    styled, distance = effect_of_fusion(run, custom(sampler))
    on_schedule, _ = effect_of_fusion(run, custom("euler"))
    assert styled > 0.3 * on_schedule
    assert distance > 1
    record("Samplers", sampler, "SamplerCustom", "inexact: adds noise", f"FFA {100 * styled:.2g} %, portrait lost")


@pytest.mark.parametrize(
    "changes", [{}, {"storage": "recompute"}, {"keep_every": 2}], ids=["kept", "recomputed", "every second"]
)
def test_on_another_schedule_the_nearest_features_are_read(run, changes):
    """Against features captured at the run's own noise levels, from one and the same noise."""
    graph = graph_of(k_sampler("euler", "karras", 7), steps=10, **changes) | {
        "own csdi": csdi(steps=7, scheduler="karras")["csdi"],
        "own": ffa(content_bank=["own csdi", 0], style_bank=["own csdi", 1]),
        "stock own": k_sampler("euler", "karras", 7, "own")["stock"],
        "keep own": keep(["stock own", 0], "own"),
    }
    kept = run(unfused(graph))
    styled = error_of(kept["own"], kept["bare"])
    # Banks of 7 and of 10 steps hold trajectories of their own: half of the effect is what these differ by.
    assert error_of(kept["stock"], kept["own"]) < 0.6 * styled


def test_a_schedule_that_misses_the_bank_is_refused(run):
    graph = graph_of(custom("euler"), scheduler="simple", steps=2)
    graph["sigmas"] = node("BasicScheduler", model=["model", 0], scheduler="normal", steps=2, denoise=0.1)
    with pytest.raises(AssertionError, match=r"visits no noise level that the bank holds\. Bank: .*Bank Schedule"):
        run(graph)
