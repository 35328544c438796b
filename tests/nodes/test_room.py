"""Features go to the first place with room."""

import pytest


@pytest.fixture
def memory(pack):
    return pack("nodes.host.memory")


@pytest.mark.parametrize(
    ("tier", "needed", "chosen"),
    [
        ("auto", 2_000, "gpu"),
        ("auto", 2_001, "cpu"),
        ("auto", 5_000, "cpu"),
        ("auto", 5_001, "disk"),
        ("auto", 90_001, None),
        ("gpu", 7_600, "gpu"),
        ("gpu", 7_601, None),
        ("cpu", 9_501, None),
        ("disk", 95_000, "disk"),
        ("recompute", 10**15, "recompute"),
    ],
)
def test_features_go_to_the_first_place_with_room(memory, tier, needed, chosen):
    free = memory.Room(gpu=8_000, cpu=10_000, disk=100_000)
    assert memory.choose_storage(tier, needed, free) == chosen
