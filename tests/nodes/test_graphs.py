"""The pack's own graph in the host's executor: CSDI, FFA, FFF."""

import pytest
import torch
from companions import record
from graphs import csdi, error_of, fff, full, keep, node
from in_process import Executor

EXACT = 1e-4  # measured 3e-7: rounding of fp32 over all steps


def test_exact_inversion_brings_the_portrait_back(run):
    kept = run(full())
    assert error_of(kept["plain"], kept["content"]) < EXACT
    assert error_of(kept["result"], kept["content"]) > 0.02  # measured 0.11


@pytest.mark.parametrize("method", ["ddim", "fixed_point"])
def test_other_methods_come_near(run, method):
    kept = run(full(method=method, steps=10))
    assert 1e-4 < error_of(kept["plain"], kept["content"]) < 0.1  # measured 0.067 and 0.016


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (32, 20)], ids=str)
def test_any_size(run, size):
    shape = {"height": size[0], "width": size[1]}
    kept = run(full(content=shape, style=shape, steps=1))
    assert kept["result"]["samples"].shape[2:] == size
    assert error_of(kept["plain"], kept["content"]) < EXACT


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_any_number_of_steps(run, steps):
    kept = run(full(steps=steps, content={"height": 8, "width": 8}, style={"height": 8, "width": 8}))
    assert error_of(kept["plain"], kept["content"]) < EXACT


@pytest.mark.parametrize("scheduler", ["simple", "karras", "beta"])
def test_any_scheduler(run, scheduler):
    kept = run(full(scheduler=scheduler))
    assert error_of(kept["plain"], kept["content"]) < EXACT


def test_style_larger_than_the_portrait(run):
    kept = run(full(style={"height": 24, "width": 20}))
    assert kept["result"]["samples"].shape == kept["content"]["samples"].shape
    assert error_of(kept["result"], kept["content"]) > 0.02


def test_portraits_of_a_batch_do_not_meet(run):
    """Four portraits at once give what each gives alone, at cfg 5 too."""
    batch = run(full(content={"batch": 4}, fff_changes={"cfg": 5.0}))
    assert error_of(batch["plain"], batch["content"]) < EXACT
    assert len({float(x) for x in batch["result"]["samples"].flatten(1).sum(1)}) == 4
    one = run(full(fff_changes={"cfg": 5.0}))
    first = {"samples": batch["result"]["samples"][:1]}
    first_content = {"samples": batch["content"]["samples"][:1]}
    # the generator fills row by row, so the first portrait is the same picture
    assert torch.equal(first_content["samples"], one["content"]["samples"])
    assert error_of(first, one["result"]) < EXACT
    record("Nodes", "a batch of four portraits", "beside", "both act")


def test_one_batch_equals_two_inversions(run):
    graph = csdi()
    settings = {k: v for k, v in graph["csdi"]["inputs"].items() if k not in ("content", "style")}
    graph["alone"] = node("MagicStyle_Invert", latent=["style", 0], **settings)
    graph |= {"keep a": keep(["csdi", 1], "together"), "keep b": keep(["alone", 0], "alone")}
    kept = run(graph)
    together, alone = kept["together"], kept["alone"]
    assert torch.allclose(together.trajectory.latents, alone.trajectory.latents, atol=1e-4)
    for layer in alone.layers:
        one, other = (bank.store.at(2)[layer.key].unpack(torch.zeros(())) for bank in (together, alone))
        assert torch.allclose(one.hidden, other.hidden, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [{"strength": 0.0}, {"start_percent": 0.5, "end_percent": 0.5}, {"start_percent": 1.0}, {"layers": "none"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_patch_that_does_nothing_changes_no_bit(run, changes):
    kept = run(full(ffa_changes=changes, fff_changes={"color": "none"}))
    assert torch.equal(kept["result"]["samples"], kept["plain"]["samples"])


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": 0.5},
        {"keys": "content+style"},
        {"keys": "live+style"},
        {"keys": "content"},
        {"queries": "live", "beta": 0.25, "temperature": 1.5},
        {"queries": "live", "beta": 1.0},
        {"end_percent": 0.5},
        {"layers": "output"},
        {"rows": "positive"},
    ],
    ids=str,
)
def test_every_setting_changes_the_picture(run, changes):
    usual = run(full(fff_changes={"cfg": 2.0}))["result"]
    changed = run(full(ffa_changes=changes, fff_changes={"cfg": 2.0}))["result"]
    assert 1e-4 < error_of(changed, usual) < 2


def test_a_style_that_is_the_content_gives_the_content(run):
    graph = full(fff_changes={"color": "none"})
    graph["style"] = graph["content"]
    kept = run(graph)
    assert error_of(kept["result"], kept["content"]) < EXACT


def test_colour_moves_the_statistics_of_the_noise(run):
    kept = run(full() | {"none": fff("ffa", color="none"), "keep none": keep(["none", 0], "none")})
    assert error_of(kept["result"], kept["none"]) > 1e-3


def test_later_starts_stay_nearer_to_the_portrait(run):
    distances = []
    for start in (0, 2, 3):
        kept = run(full(fff_changes={"start_step": start}))
        assert error_of(kept["plain"], kept["content"]) < EXACT
        distances.append(error_of(kept["result"], kept["content"]))
    assert distances == sorted(distances, reverse=True)


def test_banks_in_half_precision_change_little(run):
    full_precision = run(full())["result"]
    assert 0 < error_of(run(full(precision="fp16"))["result"], full_precision) < 2e-3  # measured 1e-4


def test_a_second_run_is_cached_and_a_new_beta_does_not_invert_again(executor):
    executor.run(full())
    executor.run(full())
    assert "csdi" in executor.cached()
    assert "fff" in executor.cached()
    executor.run(full(ffa_changes={"beta": 0.4}))
    assert "csdi" in executor.cached()
    assert "fff" not in executor.cached()


def test_runs_without_a_cache(host):
    kept = Executor("NONE").run(full())
    assert error_of(kept["plain"], kept["content"]) < EXACT


def test_bank_info_tells_what_a_bank_holds(executor):
    executor.run(csdi() | {"info": node("MagicStyle_BankInfo", bank=["csdi", 1])})
    (text,) = executor.executor.history_result["outputs"]["info"]["text"]
    for fact in ("Images: 1, latent 16 x 16", "Steps: 4, method exact", "7 layers", "fp32", "MB", "SD15"):
        assert fact in text
