"""Values that the server must refuse before anything runs, in words that help."""

import pytest
from live_host import only

from dev.client import PromptRefusedError

OWN = {
    "look": "own", "look.color": "match", "look.color_strength": 1.0, "look.detail": 1.0, "look.texture": 0.0,
    "look.start_step": 0,
}  # fmt: skip


@pytest.fixture
def picture(demo):
    """The demo prompt with the picture as its only output: ComfyUI runs whatever output is valid."""
    del demo[only(demo, "MagicStyle_BankInfo")]
    return demo


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("MagicStyle_FFA", {"method.beta": 5.0}, "method.beta"),
        ("MagicStyle_FFA", {"method": "StyleAD"}, "There is no such method. Choose one of MagicStyle; MagicStyle, as"),
        ("MagicStyle_FFA", {"method": "StyleID"}, "gamma"),
        ("MagicStyle_FFA", {"method": "StyleID", "method.gamma": 2.0, "method.temperature": 1.5}, "method.gamma"),
        ("MagicStyle_FFA", {"method": "Custom", "method.beta": 0.4, "method.keys": "both", "method.queries": "live",
                            "method.temperature": 1.0}, "method.keys: 'both' not in"),
        ("MagicStyle_FFA", {"method.temperature": 0.0}, "0.1"),
        ("MagicStyle_CSDI", {"method": "euler"}, "method: 'euler' not in"),
        ("MagicStyle_CSDI", {"steps": 0}, "smaller than min"),
        ("MagicStyle_FusedSampler", {**OWN, "look.start_step": -1}, "look.start_step"),
        ("MagicStyle_FusedSampler", {"content_bank": ["1", 0]}, "IMAGE"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_wrong_value_is_refused_with_the_node_and_the_reason(host, picture, kind, values, words):
    node = only(picture, kind)
    picture[node]["inputs"].update(values)
    with pytest.raises(PromptRefusedError) as refusal:
        host.client.submit(picture)
    assert refusal.value.status == 400
    assert list(refusal.value.node_errors) == [node]
    assert words in str(refusal.value)


@pytest.mark.parametrize("method", ["ZePo", "Cross-image attention"])
def test_a_method_without_the_portrait_that_it_reads_is_refused(host, picture, method):
    node = only(picture, "MagicStyle_FFA")
    del picture[node]["inputs"]["content_bank"]
    picture[node]["inputs"].update(
        {"method": method, "method.mix": 1.0, "method.style_scale": 1.2, "method.contrast": 1.67}
    )
    with pytest.raises(
        PromptRefusedError, match=f"{method} reads the portrait's features. Connect content_bank"
    ) as refusal:
        host.client.submit(picture)
    assert list(refusal.value.node_errors) == [node]


def test_an_output_that_is_valid_runs_and_the_wrong_value_is_named(host, demo):
    node = only(demo, "MagicStyle_FFA")
    demo[node]["inputs"]["strength"] = 7.0
    status, answer = host.client.post("/prompt", {"prompt": demo})
    assert status == 200
    assert list(answer["node_errors"]) == [node]
    outputs = host.client.history(answer["prompt_id"], timeout=240)["outputs"]
    assert list(outputs) == [only(demo, "MagicStyle_BankInfo")]
