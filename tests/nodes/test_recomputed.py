"""Recomputed banks beside other nodes: what acts on the running picture alone leaves the banks' as they were."""

import pytest
from companions import four
from graphs import error_of
from test_companions import COMPANIONS, _stand_ins  # noqa: F401  a fixture

BY_NAME = {companion.name: companion for companion in COMPANIONS}


@pytest.mark.parametrize(
    "name",
    [
        "LoRA through hooks on one conditioning",
        "ControlNet",
        "Perturbed-Attention Guidance, style of another size",
        "Self-Attention Guidance, style of another size",
        "a second conditioning with a mask",
        "Dual CFG Guider",
    ],
)
def test_recomputed_and_stored_banks_give_one_picture(run, name):
    def fused(storage):
        graph = four(BY_NAME[name], "after")
        graph["csdi"]["inputs"]["storage"] = storage
        for other in ("", "c", "f"):
            del graph[f"keep {other}"]
        return run(graph)["cf"]

    assert error_of(fused("recompute"), fused("cpu")) < 1e-5  # measured 0
