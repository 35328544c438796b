"""Layer addresses and selections, on the layouts of Stable Diffusion 1.5 and XL."""

import pytest

from magicstyle_core.layers import PRESETS, AttentionLayer, LayerKey, LayerSelection, describe

SD15 = tuple(
    AttentionLayer(LayerKey(block, index, 0), channels, scale)
    for block, places in (
        ("input", {1: (320, 1), 2: (320, 1), 4: (640, 2), 5: (640, 2), 7: (1280, 4), 8: (1280, 4)}),
        ("middle", {0: (1280, 8)}),
        (
            "output",
            {3: (1280, 4), 4: (1280, 4), 5: (1280, 4), 6: (640, 2), 7: (640, 2), 8: (640, 2)}
            | {9: (320, 1), 10: (320, 1), 11: (320, 1)},
        ),
    )
    for index, (channels, scale) in places.items()
)
SDXL = tuple(
    AttentionLayer(LayerKey(block, index, depth), 640 if scale == 2 else 1280, scale)
    for block, places in (
        ("input", {4: (2, 2), 5: (2, 2), 7: (10, 4), 8: (10, 4)}),
        ("middle", {0: (10, 4)}),
        ("output", {0: (10, 4), 1: (10, 4), 2: (10, 4), 3: (2, 2), 4: (2, 2), 5: (2, 2)}),
    )
    for index, (depths, scale) in places.items()
    for depth in range(depths)
)


def keys(text, available=SD15):
    return [str(layer.key) for layer in LayerSelection.parse(text, available)]


def test_the_layouts_have_as_many_layers_as_the_models():
    assert (len(SD15), len(SDXL)) == (16, 70)


def test_a_key_is_the_hosts_address_and_prints_as_text():
    assert LayerKey("output", 6, 0) == ("output", 6, 0)
    assert str(LayerKey("output", 6, 0)) == "output.6.0"


def test_high_res_decoder_is_the_last_six_layers_of_sd15():
    assert keys("high-res decoder") == [f"output.{index}.0" for index in range(6, 12)]


def test_high_res_decoder_is_output_3_to_5_of_sdxl():
    assert keys("high-res decoder", SDXL) == [f"output.{index}.{depth}" for index in (3, 4, 5) for depth in (0, 1)]


@pytest.mark.parametrize(("preset", "sd15", "sdxl"), [("all", 16, 70), ("decoder", 9, 36), ("none", 0, 0)])
def test_presets_count(preset, sd15, sdxl):
    assert (len(keys(preset)), len(keys(preset, SDXL))) == (sd15, sdxl)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("output.6-8", ["output.6.0", "output.7.0", "output.8.0"]),
        ("middle", ["middle.0.0"]),
        ("middle.0.0", ["middle.0.0"]),
        ("  Output.11 ,MIDDLE", ["middle.0.0", "output.11.0"]),
        ("output.10, input.1, output.10-11", ["input.1.0", "output.10.0", "output.11.0"]),
        ("output.11.0-9", ["output.11.0"]),
        ("input.2-6", ["input.2.0", "input.4.0", "input.5.0"]),
        ("none, output.11", ["output.11.0"]),
    ],
)
def test_addresses_select_in_the_order_in_which_the_model_runs(text, expected):
    assert keys(text) == expected


def test_depths_are_selected_by_range_or_all_together():
    assert keys("output.2.3-4", SDXL) == ["output.2.3", "output.2.4"]
    assert keys("output.2.9", SDXL) == ["output.2.9"]
    assert len(keys("output.2", SDXL)) == 10


@pytest.mark.parametrize("text", ["", " ", "output.", "output.6-", "output.a", "upper.1", "output.6.0.1", "-1", "all,"])
def test_text_that_cannot_be_read_names_the_presets_and_what_there_is(text):
    with pytest.raises(ValueError, match="cannot be read") as error:
        LayerSelection.parse(text, SD15)
    assert all(preset in str(error.value) for preset in PRESETS)
    assert describe(SD15) in str(error.value)


@pytest.mark.parametrize("text", ["output.0", "output.11.1", "output.8-6", "middle.1", "output.9, input.3"])
def test_an_address_that_matches_no_layer_says_what_there_is(text):
    with pytest.raises(ValueError, match="match nothing") as error:
        LayerSelection.parse(text, SD15)
    assert describe(SD15) in str(error.value)


def test_describe_joins_runs_and_counts():
    assert describe(SD15) == "input.1-2, input.4-5, input.7-8, middle.0, output.3-11 (16 layers)"
    assert describe(SDXL) == "input.4-5, input.7-8, middle.0, output.0-5 (70 layers)"
    assert describe(()) == "none (0 layers)"


def test_a_selection_prints_as_text_that_selects_the_same():
    chosen = LayerSelection.parse("output.6-8, middle", SD15)
    assert str(chosen) == "middle.0, output.6-8 (4 layers)"
    assert LayerSelection.parse(str(chosen).partition(" (")[0], SD15) == chosen


def test_a_selection_contains_its_keys_also_as_the_hosts_tuples():
    chosen = LayerSelection.parse("output.6-8", SD15)
    assert LayerKey("output", 6, 0) in chosen
    assert ("output", 8, 0) in chosen
    assert LayerKey("output", 9, 0) not in chosen


@pytest.mark.parametrize(
    ("scale", "size", "grid"),
    [
        (1, (9, 13), (9, 13)),
        (2, (9, 13), (5, 7)),
        (4, (9, 13), (3, 4)),
        (8, (64, 48), (8, 6)),
        (8, (8, 8), (1, 1)),
    ],
)
def test_a_grid_rounds_up_as_strided_convolutions_do(scale, size, grid):
    assert AttentionLayer(LayerKey("output", 0, 0), 1, scale).grid(*size) == grid
