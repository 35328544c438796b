"""What cannot work is refused with what was expected, what came and what to do; the host goes on."""

import pytest
import torch
from graphs import INVERSION, csdi, custom, ddim, ffa, fff, full, keep, latent, model, node

import comfy.samplers


def failure(run, graph):
    with pytest.raises(AssertionError) as caught:
        run(graph)
    return str(caught.value)


def invert(source, **changes):
    return node("MagicStyle_Invert", model=["model", 0], latent=[source, 0], **{**INVERSION, **changes})


REFUSED = {
    "a latent of another model": (
        full(content={"channels": 16}),
        ("content latent", "(1, 16, 16, 16)", "(batch, 4, height, width)", "VAE of this model"),
    ),
    "NaN in the latent": (full(style={"value": "nan"}), ("style latent", "NaN", "fp32")),
    "infinity in the latent": (full(content={"value": "inf"}), ("content latent", "infinite")),
    "layers that do not exist": (full(layers="output.77"), ("output.77", "match nothing", "input.1")),
    "banks without layers": (full(layers="none"), ("content bank keeps no features", "Invert the content with layers")),
    "a start beyond the schedule": (full(fff_changes={"start_step": 4}), ("start_step is 4", "4 steps", "3 or less")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(run, case):
    graph, words = REFUSED[case]
    message = failure(run, graph)
    assert message.startswith("ValueError")
    for word in words:
        assert word in message


def test_refuses_a_bank_of_another_model(run):
    graph = full() | {"other": model("SDXL")}
    graph["ffa"] = ffa("other")
    message = failure(run, graph)
    for word in ("content bank was captured on SD15", "SDXL", "Invert the picture again"):
        assert word in message
    graph = csdi() | {"other": model(v_prediction=True), "fff": fff("other"), "keep": keep(["fff", 0], "x")}
    message = failure(run, graph)
    assert "V_PREDICTION" in message
    assert "EPS" in message


def test_refuses_banks_of_two_schedules(run):
    graph = csdi() | {"bank": invert("style", steps=3), "ffa": ffa(style_bank=["bank", 0])}
    graph |= {"fff": fff("ffa"), "keep": keep(["fff", 0], "x")}
    assert "different schedules" in failure(run, graph)


def test_refuses_another_size_than_the_content(run):
    graph = full() | custom(ddim(), latent=("other", 0)) | {"other": latent(3, height=24)}
    message = failure(run, graph)
    assert "16x16" in message
    assert "24x16" in message


def test_refuses_as_many_styles_as_there_are_not_portraits(run):
    assert "2 style pictures for 3 portraits" in failure(run, full(content={"batch": 3}, style={"batch": 2}))
    for color in ("adain", "none"):  # a bank from elsewhere
        graph = full(content={"batch": 3}, fff_changes={"color": color}) | {"two": latent(5, batch=2)}
        graph["other"] = invert("two")
        for name in ("ffa", "fff"):
            graph[name]["inputs"]["style_bank"] = ["other", 0]
        message = failure(run, graph)
        assert "style bank holds 2" in message
        assert "3" in message


def test_refuses_a_prompt_of_another_text_encoder(run):
    graph = csdi() | {"text": node("TestPrompt", seed=1, tokens=77, width=768)}
    graph |= {"fff": fff("model", positive=["text", 0]), "keep": keep(["fff", 0], "x")}
    message = failure(run, graph)
    assert "768 wide" in message
    assert "needs 64" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strength": 7.0}, ("bigger than max", "'strength'")),
        ({"beta": 1.2}, ("bigger than max", "'method.beta'")),
        ({"temperature": 0.0}, ("smaller than min", "'method.temperature'")),
        ({"keys": "both"}, ("method.keys: 'both' not in",)),
        ({"method": "StyleID", "gamma": -0.1, "temperature": 1.5}, ("smaller than min", "'method.gamma'")),
        ({"method": "StyleID", "gamma": 0.5}, ("Required input is missing", "temperature")),
        ({"method": "StyleAD"}, ("no such method", "StyleID", "Custom, joined keys")),
        ({"method": "StyleAD", "content": False}, ("no such method", "StyleID")),
        ({"method": ["csdi", 0]}, ("no such method",)),
    ],
    ids=str,
)
def test_wrong_methods_and_dials_are_marked_before_the_run(run, monkeypatch, changes, words):
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args, **kwargs: pytest.fail("something ran"))
    message = failure(run, full(ffa_changes=changes))
    assert "'ffa': {'errors'" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start_step": -1}, ("smaller than min", "'look.start_step'")),
        ({"color": "blue"}, ("look.color: 'blue' not in",)),
        ({"texture": 2.0}, ("bigger than max", "'look.texture'")),
        ({"style_strength": -0.5}, ("smaller than min", "'style_strength'")),
    ],
    ids=str,
)
def test_wrong_looks_are_marked_before_the_run(run, monkeypatch, changes, words):
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args, **kwargs: pytest.fail("something ran"))
    message = failure(run, full(fff_changes=changes))
    assert "'fff': {'errors'" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("where", ["csdi", "invert", "ffa"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": "left knee"}, ("Layers 'left knee' cannot be read", "high-res decoder")),
        ({"layers": "a\ud800"}, (r"'a\\ud800' cannot be read",)),
        ({"layers": "middle," * 200}, ("1400 characters; at most 1000",)),
        ({"start_percent": 0.6, "end_percent": 0.4}, ("start_percent (0.6) and end_percent (0.4)",)),
        ({"end_percent": float("nan")}, ("end_percent (nan) must be numbers from 0 to 1",)),
        ({"start_percent": -1.0}, ("start_percent (-1)",)),
    ],
    ids=ascii,
)
def test_what_no_model_can_do_is_marked_before_the_run(run, monkeypatch, where, changes, words):
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args, **kwargs: pytest.fail("something ran"))
    graph = full() | {"invert": invert("content"), "keep invert": keep(["invert", 0], "x")}
    graph[where]["inputs"] |= changes
    message = failure(run, graph)
    assert f"'{where}': {{'errors'" in message
    for word in words:
        assert word in message


def test_the_host_goes_on_after_an_error(executor):
    failure(executor.run, full(layers="output.77"))
    assert torch.isfinite(executor.run(full())["result"]["samples"]).all()
