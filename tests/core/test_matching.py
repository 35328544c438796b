"""Style features laid out as the content is, and fusion that asks with them."""

import pytest
import torch
import torch.nn.functional as F
from denoisers import assert_close, gaussian

from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.base import AttentionInputs, Moment
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.matching import PIECE, SHARPNESS, comparable, finest, match, relay, tiled

GRID, OTHER = (8, 10), (6, 7)


def feature(seed, grid=GRID, batch=2, channels=12):
    return Feature(gaussian((batch, grid[0] * grid[1], channels), seed), grid)


@pytest.fixture
def content():
    return feature(1)


@pytest.fixture
def style():
    return feature(2, OTHER)


def shuffled(feature, seed=5):
    order = torch.randperm(feature.hidden.shape[1], generator=torch.Generator().manual_seed(seed))
    return Feature(feature.hidden[:, order], feature.grid), order


def test_matching_is_a_softmax_over_cosines_of_standardised_features(content, style):
    def standard(tokens):
        return (tokens - tokens.mean(1, keepdim=True)) / tokens.std(1, correction=0, keepdim=True)

    deviation = style.hidden.std(1, correction=0, keepdim=True)
    cosine = (
        F.normalize(standard(content.hidden) * deviation, dim=-1)
        @ F.normalize(standard(style.hidden) * deviation, dim=-1).mT
    )
    assert_close(match(style, content), torch.softmax(SHARPNESS * cosine, -1) @ style.hidden)


def test_matching_does_not_see_where_the_style_has_things(content, style):
    assert_close(match(shuffled(style)[0], content), match(style, content))


def test_matching_follows_the_content(content, style):
    moved, order = shuffled(content)
    assert_close(match(style, moved), match(style, content)[:, order])


def test_matching_does_not_see_brightness_and_contrast_of_the_content(content, style):
    assert_close(match(style, Feature(3 * content.hidden + 2, GRID)), match(style, content))


def test_a_picture_finds_itself():
    distinct = Feature(torch.eye(20, dtype=torch.float64)[None] * 4, (4, 5))
    nearest = match(distinct, distinct).argmax(-1)
    assert torch.equal(nearest[0], torch.arange(20))


def image(feature):
    return feature.hidden.transpose(1, 2).unflatten(2, feature.grid)


def test_pieces_come_from_where_the_content_is_alike_and_stay_whole():
    content = feature(1, (8, 8))
    places = image(content)
    swapped = torch.cat([places[..., PIECE:], places[..., :PIECE]], -1)  # the left half is on the right
    style = Feature(swapped.flatten(2).transpose(1, 2), (8, 8))
    marks = gaussian((2, 3, 8, 8), 7)
    laid = tiled(marks, *comparable(style, content))
    assert torch.equal(laid, torch.cat([marks[..., PIECE:], marks[..., :PIECE]], -1))


def test_pieces_fill_grids_that_they_do_not_divide(content, style):
    laid = tiled(image(style), *comparable(style, content))
    assert laid.shape == (2, 12, *GRID)
    assert bool(torch.isin(laid, image(style)).all())


def test_details_are_the_tokens_that_differ_from_those_around_them():
    hidden = torch.zeros(1, 100, 4, dtype=torch.float64)
    hidden[0, 34], hidden[0, 77] = 5.0, -3.0
    found = finest(Feature(hidden, (10, 10)), 0.02)
    assert torch.equal(found[0].sort(0, descending=True).values, hidden[0, [34, 77]])


@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (2, 2), (3, 4), (9, 1)])
def test_small_and_flat_grids_give_finite_features(content, grid):
    small = feature(3, grid)
    assert bool(relay(small, content).isfinite().all())
    assert relay(content, small).shape == small.hidden.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_precisions_agree(content, style, dtype):
    def to(feature):
        return Feature(feature.hidden.to(dtype), feature.grid)

    expected = relay(style, content)
    error = (relay(to(style), to(content)).double() - expected).norm() / expected.norm()
    assert float(error) < (0.02 if dtype == torch.float16 else 1e-5)


def test_constant_features_give_no_nan(style):
    flat = Feature(torch.zeros(2, 80, 12, dtype=torch.float64), GRID)
    assert bool(relay(style, flat).isfinite().all())
    assert bool(relay(flat, style).isfinite().all())


def test_fusion_asks_with_content_running_image_and_relaid_style(content, style):
    live, stored = AttentionInputs(*[gaussian((2, 80, 12), 9)] * 3), {"content": content, "style": style}
    (branch,) = FeatureFusion(0.7, 0.3, queries="matched")(live, stored, Moment(0, 4, GRID))
    own = Feature((content.hidden + live.query) / 2, GRID)
    assert_close(branch.inputs.query, 0.7 * own.hidden + 0.3 * relay(style, own))
    assert branch.inputs.key is style.hidden
    assert branch.inputs.value is style.hidden


def test_without_beta_nothing_is_matched(content, style):
    live, stored = AttentionInputs(*[gaussian((2, 80, 12), 9)] * 3), {"content": content, "style": style}
    (branch,) = FeatureFusion(1.0, 0.0, queries="matched")(live, stored, Moment(0, 4, GRID))
    assert_close(branch.inputs.query, (content.hidden + live.query) / 2)
