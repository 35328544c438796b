"""The measure of ghosts moves as made-up faults do."""

import numpy as np
import pytest
from truth.ghost import ghost, in_place
from truth.pairs import pairs

SIZE, COUNT = 64, 12


@pytest.fixture(scope="module")
def rows():
    return pairs(SIZE, COUNT)


def measured(rows, made, measure=ghost):
    """Mean over the pairs of the ghost of the misaligned style in ``made(pair)``."""
    pictures = [pair.misaligned for pair in rows]
    return np.mean([
        measure(made(pair), pair.content, pair.misaligned, pictures[:number] + pictures[number + 1 :])
        for number, pair in enumerate(rows)
    ])  # fmt: skip


def shown_through(pair, share, moved=lambda picture: picture):
    return ((1 - share) * pair.truth + share * moved(pair.misaligned)).astype(np.float32)


@pytest.mark.parametrize("measure", [ghost, in_place])
def test_the_truth_has_none(rows, measure):
    assert abs(measured(rows, lambda pair: pair.truth, measure)) < 0.1


@pytest.mark.parametrize("measure", [ghost, in_place])
def test_the_more_shows_through_the_more_is_measured(rows, measure):
    shares = (0.0, 0.15, 0.3, 0.6)
    found = [measured(rows, lambda pair, share=share: shown_through(pair, share), measure) for share in shares]
    assert (np.diff(found) > 0.03).all(), found


@pytest.mark.parametrize(
    "moved",
    [lambda picture: np.roll(picture, SIZE // 4, 1), lambda picture: np.roll(picture, SIZE // 2, 0),
     lambda picture: picture[:, ::-1]],
    ids=["aside", "down", "mirrored"],
)  # fmt: skip
def test_a_ghost_that_was_moved_is_one_still(rows, moved):
    there = measured(rows, lambda pair: shown_through(pair, 0.4))
    elsewhere = measured(rows, lambda pair: shown_through(pair, 0.4, moved))
    assert elsewhere > 0.6 * there > 0.1


def test_colours_and_contrast_are_no_ghost(rows):
    found = measured(rows, lambda pair: np.clip(0.6 * pair.content + 0.3, 0, 1).astype(np.float32))
    assert abs(found) < 0.1


def test_in_place_a_ghost_that_was_moved_is_none(rows):
    there = measured(rows, lambda pair: shown_through(pair, 0.4), in_place)
    moved = measured(rows, lambda pair: shown_through(pair, 0.4, lambda image: np.roll(image, SIZE // 4, 1)), in_place)
    assert moved < 0.5 * there
    assert there > 0.1


def test_a_ghost_is_the_largest_of_all_correlations(rows):
    """Told by moving the pictures themselves."""
    pair, other, flat = rows[0], rows[1].misaligned, np.full_like(rows[0].content, 0.5)
    image = shown_through(pair, 0.3)
    tried = [
        in_place(image, pair.content, np.roll(turned, (down, right), (0, 1)), [flat])
        for turned in (other, other[:, ::-1])
        for down in range(0, SIZE, SIZE // 8)
        for right in range(0, SIZE, SIZE // 8)
    ]
    # A flat picture has no layout. Blurring does not go around the edges.
    assert ghost(image, pair.content, other, [flat]) == pytest.approx(max(tried), abs=0.02)


def test_a_ghost_is_told_from_chance_by_other_pictures(rows):
    with pytest.raises(ValueError, match="other pictures"):
        ghost(rows[0].truth, rows[0].content, rows[0].misaligned, [])
