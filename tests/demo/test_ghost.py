"""The measure of ghosts moves as made-up faults do."""

import numpy as np
import pytest
from truth.ghost import ghost
from truth.pairs import pairs

SIZE, COUNT = 64, 6


@pytest.fixture(scope="module")
def rows():
    return pairs(SIZE, COUNT)


def measured(rows, made):
    """Mean over the pairs of the ghost of the misaligned style in ``made(pair)``."""
    pictures = [pair.misaligned for pair in rows]
    return np.mean([
        ghost(made(pair), pair.content, pair.misaligned, pictures[:number] + pictures[number + 1 :])
        for number, pair in enumerate(rows)
    ])  # fmt: skip


def shown_through(pair, share, moved=lambda picture: picture):
    return ((1 - share) * pair.truth + share * moved(pair.misaligned)).astype(np.float32)


def test_the_truth_has_none(rows):
    assert abs(measured(rows, lambda pair: pair.truth)) < 0.1


def test_the_more_shows_through_the_more_is_measured(rows):
    found = [measured(rows, lambda pair, share=share: shown_through(pair, share)) for share in (0.0, 0.15, 0.3, 0.6)]
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
