"""Alpha / Beta Sweep: a list of settings from one inversion, each as the graph of FFA and Fused Sampler gives it."""

import pytest
import torch
from graphs import MATCHED, csdi, ffa, fff, full, keep, look, node
from in_process import Executor, Interrupter

import comfy.model_base
import comfy.samplers
import comfy.utils
import nodes

LOOK = {"color": "match", "texture": 0.0}


class TestVAE:
    """Shows the first three channels, or two of them and a constant: enough to tell latents apart."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def run(self):
        return (self,)

    def decode(self, latent):
        return latent[:, :3].movedim(1, -1) / 8 + 0.5


@pytest.fixture(autouse=True)
def _vae(monkeypatch):
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestVAE", TestVAE)


def sweep(settings, source="model", graph=None, **changes):
    """The graph with a sweep; keeps "images" and "grid"."""
    banks = {"content_bank": ["csdi", 0], "style_bank": ["csdi", 1]}
    return (graph or csdi()) | {
        "vae": node("TestVAE"),
        "sweep": node(
            "MagicStyle_Sweep",
            model=[source, 0],
            vae=["vae", 0],
            **banks,
            settings=settings,
            **look(**{"cfg": 1.0, **LOOK, **changes}),
        ),
        "keep images": keep(["sweep", 0], "images"),
        "keep grid": keep(["sweep", 1], "grid"),
    }


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("queries=stored beta=0.2", {}),
        ("beta=0.4", MATCHED),
        ("alpha=0.6 queries=matched # with a label", MATCHED),
        ("queries=live alpha=0.75 temperature=1.5 strength=0.5 layers=decoder",
         {"beta": 0.25, "queries": "live", "temperature": 1.5, "strength": 0.5, "layers": "decoder"}),
        ("styleid: gamma=0.5", {"method": "StyleID", "gamma": 0.5, "temperature": 1.5}),
        ("ZePo: end_percent=0.5 strength 0.5",
         {"method": "ZePo", "mix": 1.0, "style_scale": 1.2, "end_percent": 0.5, "strength": 0.5}),
        ("keys=live+style style_weight=4", {**MATCHED, "keys": "live+style", "style_weight": 4.0}),
    ],
)  # fmt: skip
def test_a_line_is_the_graph_of_ffa_and_fused_sampler(run, line, changes):
    one = {"one": ffa(**changes), "sampled": fff("one", **LOOK), "keep one": keep(["sampled", 0], "one")}
    kept = run(sweep(line) | one)
    assert torch.equal(kept["images"], TestVAE().decode(kept["one"]["samples"]))


def test_pictures_may_start_and_end_as_each_method_does(run):
    """ZePo skips half of the way and leaves colours; MagicStyle matches them."""
    own = {"beta": 0.3, "temperature": 1.0, "details": 0.1}
    methods = {"ZePo": {"mix": 1.0, "style_scale": 1.2}, "MagicStyle": own}
    graph = sweep("\n".join(methods), look="as the method")
    for name, dials in methods.items():
        graph |= {name: ffa(method=name, **dials), f"{name} sampled": fff(name, look="as the method")}
        graph[f"keep {name}"] = keep([f"{name} sampled", 0], name)
    kept = run(graph)
    for image, name in zip(kept["images"], methods, strict=True):
        assert torch.equal(image[None], TestVAE().decode(kept[name]["samples"]))


def test_standard_attention_is_the_sampler_without_ffa(run):
    bare = {"bare": fff("model", **LOOK), "keep bare": keep(["bare", 0], "bare")}
    kept = run(sweep("Standard attention\nbeta=0.4") | bare)
    assert torch.equal(kept["images"][:1], TestVAE().decode(kept["bare"]["samples"]))
    assert not torch.equal(kept["images"][0], kept["images"][1])


def test_three_portraits_make_three_rows_setting_by_setting(run):
    whole = run(sweep("beta=0\nbeta=1", graph=csdi(content={"batch": 3})))
    assert whole["images"].shape[0] == 6
    again = run(sweep("beta=1", graph=csdi(content={"batch": 3})))
    assert torch.equal(again["images"], whole["images"][3:])
    height, width = whole["grid"].shape[1:3]
    single = run(sweep("beta=0\nbeta=1"))["grid"]
    assert width == single.shape[2]  # portrait, style and two settings
    assert height > 2.5 * single.shape[1]


def test_the_grid_shows_every_picture_under_its_label(run):
    kept = run(sweep("beta=0 # one\nbeta=1 # a label that is far too long for a column and goes on over several lines"))
    grid = kept["grid"]
    assert grid.shape[0] == 1
    assert grid.min() >= 0
    assert grid.max() <= 1
    cell, gap = 192, 8
    assert grid.shape[2] == 4 * (cell + gap) + gap
    shown = [grid[0, -gap - cell : -gap, left : left + cell] for left in range(gap, grid.shape[2], cell + gap)]
    for number, image in enumerate(kept["images"], 2):
        small = [torch.nn.functional.avg_pool2d(s.movedim(-1, 0), cell // image.shape[0]) for s in shown]
        distances = [float((s - image.clamp(0, 1).movedim(-1, 0)).abs().mean()) for s in small]
        assert distances.index(min(distances)) == number
    assert (grid[0, : -gap - cell - gap] < 0.3).any()  # ink


def test_a_style_of_another_size(run):
    kept = run(sweep("queries=stored beta=0.4\nstrength=0.5", graph=csdi(style={"height": 24, "width": 12})))
    assert torch.isfinite(kept["images"]).all()


def test_the_model_is_as_before_and_a_second_run_gives_the_same(executor):
    graph = sweep("beta=0.4\nStyleID\nStandard attention") | {
        "before": fff("model"), "keep before": keep(["before", 0], "before"),
    }  # fmt: skip
    first, second = executor.run(graph), executor.run(graph)
    assert torch.equal(first["images"], second["images"])
    bare = executor.run(full() | {"bare": fff("model"), "keep bare": keep(["bare", 0], "bare")})["bare"]
    assert torch.equal(first["before"]["samples"], bare["samples"])


def test_every_setting_costs_its_steps_and_nothing_else(executor, monkeypatch):
    calls = []
    original = comfy.samplers.calc_cond_batch
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *a, **k: calls.append(1) or original(*a, **k))
    executor.run(csdi() | {"k": keep(["csdi", 0], "bank")})
    assert len(calls) == 5  # the inversion, which the sweep finds done
    executor.run(sweep("beta=0\nbeta=0.5\nStandard attention"))
    assert len(calls) == 5 + 3 * 4


def test_progress_runs_through_the_whole_list(executor, monkeypatch):
    """The host thins reports out in between."""
    reported = []
    executor.run(csdi() | {"k": keep(["csdi", 0], "bank")})
    hook = lambda value, total, preview, node_id=None: reported.append((value, total))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    executor.run(sweep("beta=0\nbeta=0.5\nStandard attention"))
    values = [value for value, total in reported]
    assert {total for _, total in reported} == {12}
    assert values == sorted(values)
    assert (values[0], values[-1]) == (1, 12)


@pytest.mark.parametrize("evaluations", [5 + 6, 5 + 9], ids=["inside a setting", "between settings"])
def test_a_cancelled_sweep_leaves_nothing_and_the_next_one_works(executor, monkeypatch, evaluations):
    """Inversion takes five evaluations here, and every setting four."""
    graph = sweep("beta=0.4\nStyleID\nStandard attention")
    whole = executor.run(graph)
    fresh = Executor()
    with monkeypatch.context() as patch:
        Interrupter(patch, comfy.model_base.BaseModel, evaluations)
        with pytest.raises(AssertionError, match="interrupted"):
            fresh.run(graph)
    again = fresh.run(graph)
    assert "csdi" in fresh.cached()
    assert torch.equal(again["images"], whole["images"])
    assert torch.equal(again["grid"], whole["grid"])


def test_a_list_that_cannot_be_read_is_refused_before_anything_runs(run, monkeypatch):
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args, **kwargs: pytest.fail("something ran"))
    with pytest.raises(AssertionError, match="Line 2 of settings, 'gama=1': 'gama' is not an input"):
        run(sweep("beta=0\ngama=1"))


def test_a_setting_that_the_banks_do_not_fit_is_refused_by_its_line(run):
    with pytest.raises(AssertionError, match=r"Layers 'left' cannot be read.*At line 2 of settings, 'layers=left'"):
        run(sweep("beta=0\nlayers=left"))
    with pytest.raises(AssertionError, match=r"content bank keeps no features.*At line 2 of settings, 'beta=0.4'"):
        run(sweep("Standard attention\nbeta=0.4", graph=csdi(keep_content=False)))


def test_more_pictures_than_a_grid_has_room_for_are_refused_before_anything_runs(executor, pack, monkeypatch):
    monkeypatch.setattr(pack("nodes.sweep"), "MOST", 5)
    monkeypatch.setattr(pack("nodes.sweep"), "way_back", lambda *args: pytest.fail("something ran"))
    with pytest.raises(AssertionError, match="2 settings of 3 portraits are 6 pictures; at most 5 go into one grid"):
        executor.run(sweep("beta=0\nbeta=1", graph=csdi(content={"batch": 3})))


def test_settings_that_read_no_content_need_none(run):
    kept = run(sweep("Standard attention\nqueries=live alpha=0", graph=csdi(keep_content=False)))
    assert len(kept["images"]) == 2


def test_a_model_that_is_fused_already_is_refused(run):
    with pytest.raises(AssertionError, match="has an FFA Attention Patch already.*Connect the model from before it"):
        run(sweep("beta=0", source="patched", graph=csdi() | {"patched": ffa()}))


def test_more_steps_left_out_than_there_are_is_refused(run):
    with pytest.raises(AssertionError, match="start_step is 4, but the bank has 4 steps"):
        run(sweep("beta=0", start_step=4))
