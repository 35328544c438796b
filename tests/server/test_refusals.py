"""Values that the server must refuse before anything runs, in words that help."""

import pytest
from live_host import only

from dev.client import PromptRefusedError


@pytest.fixture
def picture(demo):
    """The demo prompt with the picture as its only output: ComfyUI runs whatever output is valid."""
    del demo[only(demo, "MagicStyle_BankInfo")]
    return demo


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("MagicStyle_FFA", {"alpha": 0.7, "beta": 0.2}, "alpha"),
        ("MagicStyle_FFA", {"alpha": 5.0}, "alpha"),
        ("MagicStyle_FFA", {"alpha": 5.0, "beta": -4.0}, "between 0 and 1"),
        ("MagicStyle_FFA", {"keys": "both"}, "keys: 'both' not in"),
        ("MagicStyle_FFA", {"temperature": 0.0}, "0.1"),
        ("MagicStyle_CSDI", {"method": "euler"}, "method: 'euler' not in"),
        ("MagicStyle_CSDI", {"steps": 0}, "smaller than min"),
        ("MagicStyle_FusedSampler", {"start_step": -1}, "smaller than min"),
        ("MagicStyle_FusedSampler", {"content_bank": ["1", 0]}, "IMAGE"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_a_wrong_value_is_refused_with_the_node_and_the_reason(host, picture, kind, values, words):
    node = only(picture, kind)
    picture[node]["inputs"].update(values)
    with pytest.raises(PromptRefusedError) as refusal:
        host.client.submit(picture)
    assert refusal.value.status == 400
    assert list(refusal.value.node_errors) == [node]
    assert words in str(refusal.value)


def test_shares_that_do_not_sum_to_one_are_named(host, picture):
    picture[only(picture, "MagicStyle_FFA")]["inputs"].update(alpha=0.7, beta=0.2)
    with pytest.raises(PromptRefusedError, match=r"0\.7.*0\.2"):
        host.client.submit(picture)


def test_an_output_that_is_valid_runs_and_the_wrong_value_is_named(host, demo):
    node = only(demo, "MagicStyle_FFA")
    demo[node]["inputs"].update(alpha=0.7, beta=0.2)
    status, answer = host.client.post("/prompt", {"prompt": demo})
    assert status == 200
    assert list(answer["node_errors"]) == [node]
    outputs = host.client.history(answer["prompt_id"], timeout=240)["outputs"]
    assert list(outputs) == [only(demo, "MagicStyle_BankInfo")]
