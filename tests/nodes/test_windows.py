"""Context windows: the host runs a long batch a few images at a time, and every image keeps its own features."""

import pytest
import torch
from companions import LEAST, record
from graphs import csdi, custom, ddim, error_of, ffa, keep, node

import nodes

LATENTS = 4
WINDOWS = {
    "context_length": 2, "context_overlap": 1, "context_schedule": "standard_static", "context_stride": 1,
    "closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False, "cond_retain_index_list": "",
    "split_conds_to_windows": False, "latent_retain_index_list": "", "causal_window_fix": False,
}  # fmt: skip


def windowed(model, **changes):
    known = {widget.id for widget in nodes.NODE_CLASS_MAPPINGS["ContextWindowsManual"].define_schema().inputs}
    inputs = {name: value for name, value in (WINDOWS | changes).items() if name in known}  # older versions have fewer
    return node("ContextWindowsManual", model=[model, 0], **inputs)


def sampled(portraits=LATENTS, models=("ffa", "windowed", "model"), windows=None, **inversion):
    """Four latents, of fewer portraits each several times, from the portraits' noise: by the name of the model."""
    graph = csdi(content={"batch": portraits}, **inversion) | {
        "ffa": ffa(),
        "windowed": windowed("ffa", **(windows or {})),
        "many": node("RepeatLatentBatch", samples=["csdi", 2], amount=LATENTS // portraits),
    }
    for name in models:
        stock = custom(ddim(False, False, detail=0.0, color="none"), name, ("many", 0))
        graph |= {f"sampled {name}": stock.pop("custom"), f"keep {name}": keep([f"sampled {name}", 0], name)}
        del stock["keep custom"]
        graph |= stock
    return graph


@pytest.mark.parametrize("storage", ["cpu", "recompute"])
@pytest.mark.parametrize("anchored", [False, True], ids=["", "with a frame before each window"])
@pytest.mark.parametrize("portraits", [1, LATENTS])
def test_windows_give_what_the_whole_batch_gives(run, portraits, anchored, storage):
    kept = run(sampled(portraits, windows={"causal_window_fix": anchored}, storage=storage))
    difference, fusion = error_of(kept["windowed"], kept["ffa"]), error_of(kept["ffa"], kept["model"])
    assert difference < 1e-5  # measured 1e-7
    assert fusion > LEAST
    if not anchored:
        what = "one portrait for all" if portraits == 1 else "a portrait each"
        measured = f"{difference:.0e} from the whole batch; FFA {100 * fusion:.2g} %"
        record("Nodes", f"context windows, {what}, storage {storage}", "after", "both act", measured)


def test_a_bank_as_long_as_a_window_is_not_taken_for_one_of_the_batch(run):
    """The window of the second and third latent would read the first portrait's features for the second's."""
    message = "content bank holds 2 images and the running batch 4"
    with pytest.raises(AssertionError, match=message):
        run(sampled(2, models=("windowed",)))
    record("Nodes", "context windows, fewer portraits than latents", "after", "refused", f'"{message}"')


def test_inversion_takes_the_whole_batch(run):
    graph = sampled(models=("ffa",))
    bare = run(graph)["ffa"]["samples"]
    graph["windowed"] = windowed("model")
    graph["csdi"]["inputs"]["model"] = ["windowed", 0]
    assert torch.equal(run(graph)["ffa"]["samples"], bare)
